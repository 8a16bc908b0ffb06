//! The loop: one thread that waits for everything at once and blocks on nothing.
//!
//! It watches the control socket, the connections, the end of children, the pipes of file tools, and the reports and
//! output of shells; whatever ends is pushed to every connection and kept until it is acknowledged. Every zombie is
//! reaped, ours or not: the hand is the first process of its namespace.

mod operations;
mod rest;
mod results;
mod tools;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::Signal;

use self::rest::Rest;
use self::tools::Waiting;
use crate::calls::Calls;
use crate::connection::Connection;
use crate::contain::Door;
use crate::control::receive;
use crate::drains::Drains;
use crate::exec::Execution;
use crate::limits::CONNECTIONS_MAX;
use crate::limits::QUIET_TIME;
use crate::limits::SHELLS_MAX;
use crate::place::Place;
use crate::process;
use crate::protocol::Request;
use crate::protocol::Response;
use crate::protocol::control;
use crate::protocol::operation::End;
use crate::protocol::operation::FailureKind;
use crate::protocol::operation::Stream;
use crate::scratch;
use crate::shell::Ended;
use crate::shell::INTERRUPTED;
use crate::shell::Shell;
use crate::sys;
use crate::worker::Stopped;
use crate::worker::Worker;

/// Serves calls at `place` until the spawner says quit or goes away.
pub fn run(control: OwnedFd, place: Place) -> ! {
    live(Server::new(control, place))
}

#[expect(clippy::exit, reason = "this is the whole life of the process")]
fn live(server: io::Result<Server>) -> ! {
    let status = match server.and_then(Server::serve) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    end_descendants();
    scratch::clear();
    std::process::exit(status)
}

/// Serves calls in a container until it is ended from outside. Further connections come through the door.
pub(crate) fn run_behind(door: Door, first: OwnedFd, place: Place) -> ! {
    live(door.bell().and_then(|bell| {
        let mut server = Server::new(bell, place)?;
        server.connect(first);
        server.door = Some(door);
        Ok(server)
    }))
}

/// Something to wait for.
#[derive(Clone, Copy)]
enum Source {
    Control,
    Children,
    Connection(usize),
    Worker(usize),
    Reports(usize),
    Output(usize),
    Drain(usize),
    Execution(usize, Stream),
}

struct Server {
    control: File,
    /// Where connections come from in a container, whose control socket is only a bell.
    door: Option<Door>,
    children: File,
    place: Place,
    calls: Calls,
    connections: Vec<Connection>,
    /// Connections that there were, which tells them apart.
    connected: u64,
    /// `None`: has ended in this turn.
    workers: Vec<Option<Worker>>,
    waiting: VecDeque<Waiting>,
    /// Programs that the server runs.
    executions: Vec<Execution>,
    shells: Vec<Shell>,
    /// Index in `shells` by thread.
    threads: HashMap<String, usize>,
    drains: Drains,
    rest: Rest,
    /// Number of file tools and programs started, which tells their files apart.
    started: u64,
    /// When memory that is not in use is given back, unless something happens before.
    quiet_at: Option<Instant>,
    is_over: bool,
}

impl Server {
    fn new(control: OwnedFd, place: Place) -> io::Result<Self> {
        sys::reserve_low_descriptors()?;
        sys::adopt_orphans()?;
        sys::set_usual_umask();
        let rest = Rest::new(place.saved.clone());
        Ok(Self {
            control: File::from(control),
            door: None,
            children: sys::signals(libc::SIGCHLD)?,
            place,
            calls: Calls::default(),
            connections: Vec::new(),
            connected: 0,
            workers: Vec::new(),
            waiting: VecDeque::new(),
            executions: Vec::new(),
            shells: Vec::new(),
            threads: HashMap::new(),
            drains: Drains::default(),
            rest,
            started: 0,
            quiet_at: Some(Instant::now()),
            is_over: false,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        while !self.is_over {
            for (source, events) in self.wait()? {
                self.quiet_at = Some(Instant::now() + QUIET_TIME);
                self.handle(source, events);
            }
            self.on_time(Instant::now());
            self.sweep();
        }
        Ok(())
    }

    /// Waits until something has happened or is due, and answers what has happened.
    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let (sources, mut set) = self.watched();
        let now = Instant::now();
        // An earlier moment would only lead to another turn.
        let limit =
            self.wake_at(now).and_then(|at| Timespec::try_from(at.saturating_duration_since(now)).ok());
        match rustix::event::poll(&mut set, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = sources.into_iter().zip(set).map(|(source, entry)| (source, entry.revents()));
        Ok(happened.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn watched(&self) -> (Vec<Source>, Vec<PollFd<'_>>) {
        let (mut sources, mut set) = (Vec::new(), Vec::new());
        let mut add = |source, descriptor, events| {
            sources.push(source);
            set.push(PollFd::from_borrowed_fd(descriptor, events));
        };
        add(Source::Control, self.control.as_fd(), PollFlags::IN);
        for (index, connection) in self.connections.iter().enumerate() {
            let (fd, events) = connection.interest();
            add(Source::Connection(index), fd, events);
        }
        for (index, worker) in self.workers.iter().enumerate() {
            if let Some(worker) = worker {
                add(Source::Worker(index), worker.pipe.as_fd(), PollFlags::IN);
            }
        }
        for (index, shell) in self.shells.iter().enumerate() {
            let (reports, output) = shell.descriptors();
            if let Some(fd) = reports {
                add(Source::Reports(index), fd, PollFlags::IN);
            }
            if let Some(fd) = output {
                add(Source::Output(index), fd, PollFlags::IN);
            }
        }
        for (index, fd) in self.drains.descriptors() {
            add(Source::Drain(index), fd, PollFlags::IN);
        }
        for (index, execution) in self.executions.iter().enumerate() {
            let listener = execution.listener.and_then(|number| self.numbered(number));
            if listener.is_some_and(|connection| self.connections[connection].is_behind()) {
                continue;
            }
            for (stream, fd) in execution.descriptors() {
                add(Source::Execution(index, stream), fd, PollFlags::IN);
            }
        }
        // Last, so that a report which a shell sent before it ended is read first.
        add(Source::Children, self.children.as_fd(), PollFlags::IN);
        (sources, set)
    }

    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let workers = self.workers.iter().flatten().map(|worker| worker.deadline);
        let shells = self.shells.iter().filter_map(|shell| shell.wake_at(now));
        let others = self.drains.wake_at().into_iter().chain(self.rest.wake_at()).chain(self.quiet_at);
        let executions = self.executions.iter().map(|execution| execution.wake_at(now));
        workers.chain(shells).chain(executions).chain(others).min()
    }

    /// Indices stay valid while a turn lasts: things are only added to the lists, and removed in `sweep`.
    fn handle(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Control => self.on_control(),
            Source::Children => self.on_children(),
            Source::Connection(index) => self.on_connection(index, events),
            Source::Worker(index) => self.on_worker(index),
            Source::Reports(index) => {
                let ended = self.shells[index].on_reports();
                self.go_on(index, ended);
            }
            Source::Output(index) => {
                let ended = self.shells[index].on_output();
                self.go_on(index, ended);
            }
            Source::Drain(index) => self.drains.read(index),
            Source::Execution(index, stream) => self.on_execution(index, stream),
        }
    }

    fn on_control(&mut self) {
        if let Some(door) = &self.door {
            door.answer().into_iter().for_each(|caller| self.connect(caller));
            return;
        }
        let Ok(packet) = receive(&self.control) else {
            self.is_over = true;
            return;
        };
        match (packet.bytes.first(), packet.descriptor) {
            (None | Some(&control::QUIT), _) => self.is_over = true,
            (Some(&control::ADOPT), Some(descriptor)) => {
                self.connect(descriptor);
            }
            (Some(&control::FULL), _) => self.stop(&String::from_utf8_lossy(&packet.bytes[1..])),
            (Some(_), _) => {}
        }
    }

    fn connect(&mut self, descriptor: OwnedFd) {
        self.connected += 1;
        if let Ok(connection) = Connection::new(self.connected, descriptor) {
            self.connections.push(connection);
        }
    }

    /// Ends every process inside but this one. Calls that run fail, and say why; the next ones find a new shell.
    fn stop(&mut self, reason: &str) {
        for worker in self.workers.iter_mut().flatten() {
            worker.kill(FailureKind::Cancelled, &format!("stopped: {reason}"));
        }
        for execution in &mut self.executions {
            execution.expect_end(reason);
        }
        for shell in &mut self.shells {
            shell.expect_end(reason);
        }
        if sys::own_pid() == 1 {
            sys::kill_all_others();
        } else {
            for pid in process::descendants() {
                sys::kill(pid, Signal::KILL);
            }
        }
    }

    fn on_children(&mut self) {
        // The signals are only a bell; any number of children may stand behind one.
        let mut bell = [0; 4096];
        drop(self.children.read(&mut bell));
        while let Some((pid, exit)) = sys::reap() {
            let Some(index) = self.shells.iter().position(|shell| shell.is_bash(pid)) else {
                self.on_program_exit(pid, exit);
                continue;
            };
            let was_retiring = self.shells[index].is_retiring();
            let ended = self.shells[index].on_exit(exit, &self.place);
            self.rest.note(was_retiring);
            if let Some(ended) = ended {
                self.end(ended);
            }
            self.advance(index);
        }
    }

    fn on_connection(&mut self, index: usize, events: PollFlags) {
        if events.contains(PollFlags::OUT) {
            self.connections[index].flush();
        }
        if events.difference(PollFlags::OUT).is_empty() {
            return;
        }
        for request in self.connections[index].receive() {
            match request {
                Request::Execute { id, thread, tool, input } => self.execute(index, id, thread, &tool, input),
                Request::Operate { id, operation } => self.operate(index, id, operation),
                Request::Recall { id } => self.recall(index, &id),
                Request::Cancel { id } => self.cancel(&id),
                Request::Acknowledge { ids } => {
                    for id in &ids {
                        self.calls.acknowledge(id);
                    }
                }
                Request::Rest => self.begin_rest(index),
                Request::Ping => self.answer(index, &Response::Pong),
            }
        }
    }

    fn cancel(&mut self, id: &str) {
        let position = self.waiting.iter().position(|waiting| waiting.id == id);
        if let Some(Waiting { id, task }) = position.and_then(|position| self.waiting.remove(position)) {
            let stopped = Stopped { kind: FailureKind::Cancelled, reason: INTERRUPTED.to_owned() };
            return self.end_work(&id, &task, Err(stopped));
        }
        if let Some(worker) = self.workers.iter_mut().flatten().find(|worker| worker.id == id) {
            return worker.kill(FailureKind::Cancelled, INTERRUPTED);
        }
        if let Some(execution) = self.executions.iter_mut().find(|execution| execution.id == id) {
            return execution.end(End::Cancelled, Instant::now());
        }
        let ended: Vec<Ended> = self.shells.iter_mut().filter_map(|shell| shell.cancel(id)).collect();
        for ended in ended {
            self.end(ended);
        }
    }

    /// After a call of a shell has ended: publishes its result and starts the next.
    fn go_on(&mut self, shell: usize, ended: Option<Ended>) {
        if let Some(ended) = ended {
            self.end(ended);
            self.advance(shell);
        }
    }

    fn advance(&mut self, shell: usize) {
        for ended in self.shells[shell].start_next(&self.place) {
            self.end(ended);
        }
    }

    fn on_time(&mut self, now: Instant) {
        for worker in self.workers.iter_mut().flatten() {
            if now >= worker.deadline {
                worker.time_out();
            }
        }
        for index in 0..self.shells.len() {
            let ended = self.shells[index].on_time(now);
            self.go_on(index, ended);
        }
        self.end_executions(now);
        self.drains.on_time(now);
        self.end_rest(now);
        if self.quiet_at.take_if(|at| *at <= now).is_some() {
            sys::give_back_memory();
        }
    }

    fn sweep(&mut self) {
        self.connections.retain(|connection| !connection.is_broken());
        let excess = self.connections.len().saturating_sub(CONNECTIONS_MAX);
        self.connections.drain(..excess);
        self.drains.sweep();
        self.workers.retain(Option::is_some);
        self.start_workers();
        let idle = self.shells.iter_mut().filter(|shell| shell.is_idle());
        let mut idle: Vec<&mut Shell> = idle.collect();
        if idle.len() > SHELLS_MAX
            && let Some(oldest) = idle.iter_mut().min_by_key(|shell| shell.used)
        {
            oldest.retire(Instant::now());
        }
    }
}

/// Ends all that was started. For the first process of a namespace the kernel does it.
fn end_descendants() {
    if sys::own_pid() == 1 {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        let descendants = process::descendants();
        if descendants.is_empty() {
            return;
        }
        for pid in descendants {
            sys::kill(pid, Signal::KILL);
        }
        while sys::reap().is_some() {}
    }
}
