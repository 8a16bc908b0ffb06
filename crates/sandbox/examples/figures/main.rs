//! Figures of sandboxes, straight from the back end: `figures PROGRAM FOLDER [quick]`, where PROGRAM is started as
//! `PROGRAM spawner --data FOLDER`. Prints rows of a table with the bound that each figure is held against.
//!
//! Started with `inside` it is the program that runs in a sandbox: it makes files, or measures the way out.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints figures"
)]

mod checkpoint;
mod inside;
mod many;
mod network;
mod one;
mod stage;
mod table;

use std::path::Path;
use std::path::PathBuf;

use crate::stage::Stage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "inside") {
        return inside::main(&arguments[1..]);
    }
    let [program, folder, rest @ ..] = arguments.as_slice() else { panic!("PROGRAM FOLDER [quick]") };
    let is_quick = rest.iter().any(|word| word == "quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&PathBuf::from(program), Path::new(folder), is_quick));
}

async fn measure(program: &Path, folder: &Path, is_quick: bool) {
    let stage = Stage::new(program, folder).await;
    let rounds = if is_quick { 40 } else { 300 };
    one::starts(&stage, rounds).await;
    one::calls(&stage, rounds).await;
    one::freezing(&stage, rounds / 4).await;
    many::at_once(&stage, if is_quick { 3 } else { 10 }).await;
    for count in if is_quick { vec![100] } else { vec![100, 500] } {
        many::idle(&stage, count).await;
    }
    checkpoint::measure(&stage, rounds / 4).await;
    network::measure(&stage).await;
    stage.backend.shut_down().await.unwrap();
}
