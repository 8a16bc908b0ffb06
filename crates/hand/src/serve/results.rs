//! What is told to connections.

use std::rc::Rc;
use std::sync::Arc;

use super::Server;
use super::tools::dropped;
use crate::calls::Standing;
use crate::protocol::Response;
use crate::protocol::encode;
use crate::shell::Ended;
use crate::tools::Outcome;

impl Server {
    /// Tells one connection what is known of a call.
    pub(super) fn recall(&mut self, index: usize, id: &str) {
        let state = self.calls.state(id);
        self.answer(index, &Response::State { id: id.to_owned(), state });
        if let Standing::Finished(frame) = self.calls.standing(id) {
            self.connections[index].send(frame);
        }
    }

    /// Publishes what a shell has ended.
    pub(super) fn end(&mut self, ended: Ended) {
        let Ended { id, outcome, drain } = ended;
        if let Some(drain) = drain {
            self.drains.add(drain);
        }
        self.finish(&id, &outcome);
    }

    /// Publishes an outcome.
    pub(super) fn finish(&mut self, id: &str, outcome: &Outcome) {
        self.publish(id, result_frame(id, outcome), result_frame(id, &dropped()));
    }

    /// Sends a result to every connection and keeps it; `stub` is what is kept when there is no more room for it.
    pub(super) fn publish(&mut self, id: &str, frame: Rc<[u8]>, stub: Rc<[u8]>) {
        for connection in &mut self.connections {
            connection.send(Rc::clone(&frame));
        }
        self.calls.finish(id, frame, stub);
    }

    /// Sends a response to one connection.
    pub(super) fn answer(&mut self, index: usize, response: &Response) {
        if let Ok(frame) = encode(response) {
            self.connections[index].send(frame.into());
        }
    }
}

/// The frame of a result.
pub(super) fn result_frame(id: &str, outcome: &Outcome) -> Rc<[u8]> {
    let content = outcome.content.iter().map(|block| {
        let json = serde_json::value::to_raw_value(block).expect("a block is plain strings, always JSON");
        Arc::from(json)
    });
    let result =
        Response::Result { id: id.to_owned(), content: content.collect(), is_error: outcome.is_error };
    let frame = encode(&result).expect("outcomes made in this process are far below the bound of a frame");
    frame.into()
}
