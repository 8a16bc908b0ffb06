//! One connection to a server: frames in, frames out, nothing that blocks.

use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::event::PollFlags;

use crate::limits::BACKLOG_BYTES_MAX;
use crate::limits::OUTGOING_BYTES_MAX;
use crate::limits::READ_TURN_BYTES;
use crate::protocol::Decoder;
use crate::protocol::Request;

/// A connection.
pub(crate) struct Connection {
    /// Tells it from others.
    pub(crate) number: u64,
    stream: UnixStream,
    decoder: Decoder,
    outgoing: VecDeque<Rc<[u8]>>,
    outgoing_bytes: usize,
    /// How much of the first outgoing frame was sent.
    sent: usize,
    is_broken: bool,
    /// Whether it is to be told when the shells are at rest.
    pub(crate) awaits_rest: bool,
}

impl Connection {
    /// Serves `descriptor`, a stream socket.
    pub(crate) fn new(number: u64, descriptor: OwnedFd) -> io::Result<Self> {
        let stream = UnixStream::from(descriptor);
        stream.set_nonblocking(true)?;
        Ok(Self {
            number,
            stream,
            decoder: Decoder::default(),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            sent: 0,
            is_broken: false,
            awaits_rest: false,
        })
    }

    /// Requests that have come, one turn's worth.
    pub(crate) fn receive(&mut self) -> Vec<Request> {
        let mut chunk = vec![0; READ_TURN_BYTES];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.is_broken = true,
            Ok(count) => self.decoder.push(&chunk[..count]),
            Err(error) if is_passing(&error) => {}
            Err(_) => self.is_broken = true,
        }
        let mut requests = Vec::new();
        loop {
            match self.decoder.message() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => return requests,
                Err(_) => {
                    self.is_broken = true;
                    return requests;
                }
            }
        }
    }

    /// Sends a frame, now or when the other side reads. One that does not read loses the connection, never a result.
    pub(crate) fn send(&mut self, frame: Rc<[u8]>) {
        self.outgoing_bytes += frame.len();
        self.outgoing.push_back(frame);
        self.flush();
        if self.outgoing_bytes > OUTGOING_BYTES_MAX {
            self.is_broken = true;
        }
    }

    /// Sends what waits, as far as it goes.
    pub(crate) fn flush(&mut self) {
        while let Some(frame) = self.outgoing.front() {
            match self.stream.write(&frame[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_passing(&error) => return,
                Err(_) => {
                    self.is_broken = true;
                    return;
                }
            }
            if self.sent == frame.len() {
                self.outgoing_bytes -= frame.len();
                self.outgoing.pop_front();
                self.sent = 0;
            }
        }
    }

    /// Whether the other side reads more slowly than it is sent to.
    pub(crate) fn is_behind(&self) -> bool {
        self.outgoing_bytes > BACKLOG_BYTES_MAX
    }

    /// Whether it is of no more use.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Descriptor and what to wait for.
    pub(crate) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let write = if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        (self.stream.as_fd(), PollFlags::IN | write)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
