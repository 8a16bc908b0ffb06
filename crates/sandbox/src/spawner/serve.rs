//! The loop: clients ask, hands report, processes end, time passes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use api::ids::SessionId;
use api::time::Clock;
use hand::protocol::control;

use super::Options;
use super::cell::Cell;
use super::cell::State;
use super::cell::Waiter;
use super::egress::Egress;
use super::files::Files;
use super::host;
use super::host::Unavailable;
use super::launch::Launcher;
use super::log;
use super::mounts::Changes;
use super::trash::Trash;
use super::vacancy::Vacancies;
use super::volume::Volumes;
use super::watch::Bounds;
use super::watch::Subject;
use super::watch::Verdict;
use super::watch::Watch;
use super::work::Works;
use crate::Mode;
use crate::sys::process;
use crate::sys::socket;
use crate::wire::Answer;
use crate::wire::MESSAGE_BYTES_MAX;
use crate::wire::Reply;
use crate::wire::Request;

/// Connections of servers at once. One is usual, two while one takes over from another.
const CLIENTS_MAX: usize = 16;
/// How soon what could not be removed is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// All that the spawner knows.
#[derive(Debug)]
pub(super) struct Spawner {
    pub(super) launcher: Result<Launcher, Unavailable>,
    pub(super) files: Files,
    pub(super) cells: BTreeMap<SessionId, Cell>,
    pub(super) vacancies: Vacancies,
    /// Who wants to know that the spawner is about to end; set when it is to.
    pub(super) closing: Option<Vec<Waiter>>,
    pub(super) trash: Trash,
    pub(super) works: Works,
    pub(super) changes: Changes,
    pub(super) egress: Egress,
    watch: Watch,
    clients: BTreeMap<u64, OwnedFd>,
    clients_seen: u64,
    alone_since: Option<Instant>,
    options: Options,
    listener: OwnedFd,
    termination: OwnedFd,
    data_dir: PathBuf,
}

/// What a descriptor in the poll belongs to.
#[derive(Clone, Debug)]
enum Source {
    Listener,
    Termination,
    Client(u64),
    /// The control socket of a hand that raises its walls.
    Walls(SessionId),
    /// The process of a hand.
    Hand(SessionId),
    /// The process that is the door to the network.
    Egress,
    /// A worker on a layer.
    Work(u64),
    /// A process that changes what a sandbox has mounted.
    Change(u64),
    /// The process that measures files.
    Watch,
    /// The process that empties the trash.
    Trash,
}

impl Spawner {
    pub(super) fn new(data_dir: PathBuf, options: Options, listener: OwnedFd) -> io::Result<Self> {
        process::set_umask(0o022);
        let termination = process::termination()?;
        let files = Files::open(&data_dir)?;
        let mode = host::mode();
        let role = mode.as_ref().copied().unwrap_or(Mode::SingleId);
        let egress = Egress::open(role, &data_dir)?;
        let launcher = match mode {
            Ok(mode) => Launcher::new(mode, &data_dir, options.disk)?,
            Err(unavailable) => Err(unavailable),
        };
        let watch = Watch::new(files.sandboxes().to_owned());
        Ok(Self {
            launcher,
            files,
            cells: BTreeMap::new(),
            vacancies: Vacancies::new(Clock::system()).settled(),
            closing: None,
            trash: Trash::default(),
            works: Works::default(),
            changes: Changes::default(),
            egress,
            watch,
            clients: BTreeMap::new(),
            clients_seen: 0,
            alone_since: Some(Instant::now()),
            options,
            listener,
            termination,
            data_dir,
        })
    }

    pub(super) fn serve(mut self) -> io::Result<()> {
        loop {
            for source in self.wait()? {
                match source {
                    Source::Listener => self.accept(),
                    Source::Termination => self.close(None),
                    Source::Client(client) => self.read(client),
                    Source::Walls(session) => self.walls(&session),
                    Source::Hand(session) => self.hand_ended(&session),
                    Source::Egress => self.egress.ended(),
                    Source::Work(number) => self.work_ended(number),
                    Source::Change(number) => self.change_ended(number),
                    Source::Watch => {
                        self.watch.hear().into_iter().for_each(|verdict| self.carry_out(verdict));
                    }
                    Source::Trash => self.trash.ended(),
                }
            }
            self.pass_time();
            if self.closing.is_some() && self.cells.is_empty() {
                break;
            }
        }
        self.finish();
        Ok(())
    }

    /// Waits until something happens, and says what.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Listener, Source::Termination];
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.listener.as_fd(), self.termination.as_fd()];
        for (client, socket) in &self.clients {
            sources.push(Source::Client(*client));
            fds.push(socket.as_fd());
        }
        for (session, cell) in &self.cells {
            // A hand that ends closes its socket too: its last word is read first.
            if matches!(cell.state, State::Starting { walls_stand: false, .. }) {
                sources.push(Source::Walls(session.clone()));
                fds.push(cell.control.as_fd());
            }
            sources.push(Source::Hand(session.clone()));
            fds.push(cell.child.fd.as_fd());
        }
        if let Some(fd) = self.egress.running() {
            sources.push(Source::Egress);
            fds.push(fd);
        }
        for (number, fd) in self.works.running() {
            sources.push(Source::Work(number));
            fds.push(fd);
        }
        for (number, fd) in self.changes.running() {
            sources.push(Source::Change(number));
            fds.push(fd);
        }
        if let Some(fd) = self.watch.running() {
            sources.push(Source::Watch);
            fds.push(fd);
        }
        if let Some(fd) = self.trash.running() {
            sources.push(Source::Trash);
            fds.push(fd);
        }
        let ready = process::wait_readable(&fds, self.timeout_ms())?;
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter_map(|(source, is_ready)| is_ready.then_some(source))
            .collect())
    }

    /// Milliseconds until time alone makes something happen; negative for never.
    fn timeout_ms(&self) -> i32 {
        let starting = self.cells.values().filter_map(|cell| match &cell.state {
            State::Starting { deadline, .. } => Some(*deadline),
            State::Running | State::Ending { .. } => None,
        });
        let alone = self.alone_since.map(|since| since + self.options.alone_max);
        let lingers = self.launcher.as_ref().is_ok_and(|launcher| launcher.groups.has_lingering());
        let retry = lingers.then(|| Instant::now() + RETRY);
        let look = (!self.cells.is_empty()).then(|| self.watch.look_at());
        // Nothing is prepared while somebody waits, nor at the end.
        let is_free = self.closing.is_none() && starting.clone().next().is_none();
        let spare =
            self.launcher.as_ref().ok().and_then(|launcher| launcher.prepared.due()).filter(|_| is_free);
        let door = self.egress.start_at().filter(|_| self.closing.is_none());
        let next = starting
            .chain(alone)
            .chain(retry)
            .chain(look)
            .chain(self.changes.deadlines())
            .chain(door)
            .chain(self.trash.retry_at())
            .chain(spare)
            .min();
        next.map_or(-1, |at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis();
            i32::try_from(left + 1).unwrap_or(i32::MAX)
        })
    }

    fn pass_time(&mut self) {
        let now = Instant::now();
        let late: Vec<SessionId> = self
            .cells
            .iter()
            .filter(|(_, cell)| matches!(&cell.state, State::Starting { deadline, .. } if *deadline <= now))
            .map(|(session, _)| session.clone())
            .collect();
        for session in late {
            self.give_up(&session, "raising the walls took too long");
        }
        self.end_late_changes(now);
        if self.closing.is_none() && self.egress.start_when_due() {
            self.cells.iter().for_each(|(session, cell)| self.egress.admit(session, &cell.door));
        }
        let is_starting = self.cells.values().any(|cell| matches!(cell.state, State::Starting { .. }));
        if let Ok(launcher) = &mut self.launcher {
            launcher.groups.tidy();
            if !self.cells.is_empty() {
                let subjects = || subjects(&self.cells, &self.files, &launcher.volumes);
                self.watch.look(&launcher.owners, subjects);
            }
            self.trash.empty_when_due(&self.files, &launcher.owners);
            // Not while somebody waits.
            if self.closing.is_none()
                && !is_starting
                && let Err(error) = launcher.prepare(&mut self.files)
            {
                log(&format!("prepare a sandbox: {error}"));
            }
        }
        let is_alone = self.alone_since.is_some_and(|since| since + self.options.alone_max <= now);
        if is_alone && self.closing.is_none() {
            log("no server came back: ending");
            self.close(None);
        }
    }

    /// A sandbox takes more of the disk than it may, or most of what is about to run out.
    fn carry_out(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Stop { session, reason } => {
                let Some(cell) = self.cells.get(&session) else { return };
                log(&format!("stopped what runs in the sandbox of {session}: {reason}"));
                let message = [&[control::FULL], reason.as_bytes()].concat();
                if let Err(error) = socket::send(cell.control.as_fd(), &message, &[]) {
                    self.give_up(&session, &format!("{reason}, and its hand does not listen: {error}"));
                }
            }
            Verdict::End { session, reason } => self.give_up(&session, &reason),
        }
    }

    fn accept(&mut self) {
        let (socket, uid) = match socket::accept(self.listener.as_fd()) {
            Ok(accepted) => accepted,
            Err(error) => return log(&format!("accept a server: {error}")),
        };
        let (own, _) = process::ids();
        if uid != own && uid != 0 {
            return log(&format!("refused a connection of user {uid}"));
        }
        if self.clients.len() >= CLIENTS_MAX {
            return log("refused a connection: too many are open");
        }
        self.clients_seen += 1;
        self.clients.insert(self.clients_seen, socket);
        self.alone_since = None;
    }

    /// Reads one request of a client, or sees that the client has gone.
    fn read(&mut self, client: u64) {
        let Some(socket) = self.clients.get(&client) else { return };
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        match socket::receive(socket.as_fd(), &mut buffer) {
            Ok((0, _)) => self.drop_client(client),
            Ok((length, attached)) => match serde_json::from_slice(&buffer[..length]) {
                Ok(Request { number, ask }) => {
                    self.answer(Waiter { client, number }, ask, attached.into_iter().next());
                }
                Err(error) => {
                    log(&format!("understand a request: {error}"));
                    self.drop_client(client);
                }
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log(&format!("read a request: {error}"));
                self.drop_client(client);
            }
        }
    }

    fn drop_client(&mut self, client: u64) {
        self.clients.remove(&client);
        if self.clients.is_empty() {
            self.alone_since = Some(Instant::now());
        }
    }

    /// Answers a request. A client that does not read its answers is dropped.
    pub(super) fn reply(&mut self, waiter: Waiter, answer: Answer, attached: Option<&OwnedFd>) {
        let Some(socket) = self.clients.get(&waiter.client) else { return };
        let reply = Reply { number: waiter.number, answer };
        let bytes = serde_json::to_vec(&reply).expect("plain data with text keys becomes JSON");
        if let Err(error) = socket::send(socket.as_fd(), &bytes, attached.map(AsFd::as_fd).as_slice()) {
            log(&format!("answer a server: {error}"));
            self.drop_client(waiter.client);
        }
    }

    /// Ends every sandbox, and then the loop.
    pub(super) fn close(&mut self, waiter: Option<Waiter>) {
        self.closing.get_or_insert_default().extend(waiter);
        let sessions: Vec<SessionId> = self.cells.keys().cloned().collect();
        for session in sessions {
            self.give_up(&session, "the spawner is ending");
        }
    }

    /// Leaves nothing behind that the next spawner would have to find out about.
    fn finish(mut self) {
        drop(std::fs::remove_file(self.data_dir.join(crate::wire::SOCKET)));
        self.dismiss_workers();
        self.egress.end();
        self.watch.end();
        self.trash.end();
        if let Ok(launcher) = &mut self.launcher {
            launcher.give_up_prepared();
            for _ in 0..100 {
                if launcher.groups.tidy() {
                    break;
                }
                std::thread::sleep(RETRY);
            }
            launcher.groups.close();
        }
        for waiter in self.closing.take().unwrap_or_default() {
            self.reply(waiter, Answer::Ended, None);
        }
    }
}

/// The running sandboxes, as the watch over the disk sees them.
fn subjects(cells: &BTreeMap<SessionId, Cell>, files: &Files, volumes: &Volumes) -> Vec<Subject> {
    let running = cells.iter().filter(|(_, cell)| matches!(cell.state, State::Running));
    let subject = |(session, cell): (&SessionId, &Cell)| {
        let (paths, is_watched) = volumes.measured(&files.folder(session));
        // What stands still neither grows nor hears.
        let bounds = (is_watched && !cell.is_frozen).then(|| Bounds::from(&cell.kind.limits));
        Subject { session: session.clone(), hand: cell.child.pid, paths, bounds }
    };
    running.map(subject).collect()
}
