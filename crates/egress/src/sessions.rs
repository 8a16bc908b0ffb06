//! The sessions of this process: listeners come from the spawner, grants from servers, in either order. A session reaches
//! something only when it has both; without a grant its connections are refused.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;

use api::ids::SessionId;
use tokio::task::JoinSet;

use crate::authority::Authority;
use crate::grant::Grant;
use crate::limits::GRANTS_MAX;
use crate::limits::REPORTED_MAX;
use crate::limits::SESSIONS_MAX;
use crate::serve::serve;
use crate::session::Session;
use crate::session::Settings;
use crate::usage_log::UsageLog;
use crate::wire::Report;

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    folder: PathBuf,
    settings: Settings,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    open: HashMap<SessionId, Open>,
    /// Closed ones whose last connections are still on their way out: two usage logs of one session would disagree.
    closing: HashMap<SessionId, Weak<Session>>,
    grants: HashMap<SessionId, Granted>,
    /// How many grants there have been.
    granted: u64,
}

/// A session whose sandbox is there.
#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    /// Dropping it ends the session's connections.
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Granted {
    grant: Arc<Grant>,
    /// Its place among all grants: the oldest without a sandbox goes first.
    number: u64,
}

impl Known {
    fn find(&self, session: &SessionId) -> Option<Arc<Session>> {
        let open = self.open.get(session).map(|open| Arc::clone(&open.session));
        open.or_else(|| self.closing.get(session)?.upgrade())
    }
}

impl Sessions {
    /// No sessions yet. Their usage logs and authorities are in `folder`.
    pub(crate) fn new(folder: PathBuf, settings: Settings) -> Self {
        Self { folder, settings, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the listeners of a sandbox, instead of those of a former one of its session.
    pub(crate) fn open(&self, id: SessionId, sockets: Vec<OwnedFd>) -> io::Result<()> {
        let mut known = self.lock();
        let grant = known.grants.get(&id).map(|granted| Arc::clone(&granted.grant));
        let session = match known.find(&id) {
            Some(session) => {
                session.change(grant);
                session
            }
            None if known.open.len() >= SESSIONS_MAX => return Err(io::Error::other("too many sessions")),
            None => Session::open(id.clone(), grant, self.settings.clone(), &self.folder)?,
        };
        let serving = serve(&session, sockets)?;
        known.open.insert(id, Open { session, _serving: serving });
        Ok(())
    }

    /// The sandbox has ended. Its grant stays: only servers take back what they have granted.
    pub(crate) fn close(&self, id: &SessionId, forget: bool) -> io::Result<()> {
        let mut known = self.lock();
        known.closing.retain(|_, closing| closing.strong_count() > 0);
        if let Some(open) = known.open.remove(id) {
            known.closing.insert(id.clone(), Arc::downgrade(&open.session));
        }
        if forget {
            known.closing.remove(id);
            UsageLog::forget(&self.folder, id)?;
            Authority::forget(&self.folder, id)?;
        }
        Ok(())
    }

    /// New connections of a session follow this; none are possible without a grant.
    pub(crate) fn grant(&self, id: SessionId, grant: Option<Arc<Grant>>) {
        let mut known = self.lock();
        if let Some(session) = known.find(&id) {
            session.change(grant.clone());
        }
        let Some(grant) = grant else {
            known.grants.remove(&id);
            return;
        };
        if known.grants.len() >= GRANTS_MAX && !known.grants.contains_key(&id) {
            let unused = known.grants.iter().filter(|(id, _)| !known.open.contains_key(id));
            if let Some(oldest) = unused.min_by_key(|(_, granted)| granted.number).map(|(id, _)| id.clone()) {
                known.grants.remove(&oldest);
            }
        }
        known.granted += 1;
        let number = known.granted;
        known.grants.insert(id, Granted { grant, number });
    }

    /// The certificate of a session's authority, which is made if there is none.
    pub(crate) fn authority(&self, id: &SessionId) -> io::Result<String> {
        let authority = Authority::open(&self.folder, id, self.settings.clock.now())?;
        Ok(authority.certificate_pem().to_owned())
    }

    /// What is known of a session, whether or not its sandbox is there.
    pub(crate) fn report(&self, id: &SessionId) -> io::Result<Option<Report>> {
        let session = self.lock().find(id);
        if let Some(session) = session {
            let usage_log = session.usage_log();
            return Ok(Some(Report {
                totals: usage_log.totals(),
                policy: session.grant().map(|grant| grant.policy.as_ref().clone()),
                connections: session.connections(),
                recent: usage_log.recent(REPORTED_MAX),
            }));
        }
        let Some(usage_log) = UsageLog::read(&self.folder, id)? else { return Ok(None) };
        let (totals, recent) = (usage_log.totals(), usage_log.recent(REPORTED_MAX));
        Ok(Some(Report { totals, policy: None, connections: 0, recent }))
    }
}
