//! One sandbox at a time: its start, its calls, its sleep.

use std::time::Duration;
use std::time::Instant;

use sandbox::Backend;
use sandbox::Spec;
use serde_json::json;

use crate::stage::Hands;
use crate::stage::Stage;
use crate::table::Bound;
use crate::table::times;

/// Long enough for a spare sandbox to be there, as it is between sessions that people begin.
const PAUSE: Duration = Duration::from_millis(30);

/// From the request to the result of the first command.
pub(crate) async fn starts(stage: &Stage, rounds: usize) {
    let at_most = (Bound::AtMost(10.0), Bound::AtMost(25.0));
    let ready = start(stage, rounds, || stage.spec(), Some(PAUSE)).await;
    times("cold to first command, spare sandbox used", &ready, at_most.0, at_most.1);
    let unfit = start(stage, rounds, || stage.own_kind(), Some(PAUSE)).await;
    times("cold to first command, made from nothing", &unfit, at_most.0, at_most.1);
    let alone = start(stage, rounds, || Spec { network: None, ..stage.own_kind() }, Some(PAUSE)).await;
    times("the same without a network", &alone, at_most.0, at_most.1);
    let busy = start(stage, rounds, || stage.spec(), None).await;
    times("cold to first command, one session after another without a pause", &busy, at_most.0, at_most.1);
}

pub(crate) async fn start(
    stage: &Stage,
    rounds: usize,
    spec: impl Fn() -> Spec,
    pause: Option<Duration>,
) -> Vec<Duration> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let spec = spec();
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let begin = Instant::now();
        stage.provision(&spec).await.bash(":").await;
        all.push(begin.elapsed());
        stage.end(&spec).await;
    }
    all
}

/// Calls in a sandbox that runs.
pub(crate) async fn calls(stage: &Stage, rounds: usize) {
    let spec = stage.spec();
    let hands = stage.provision(&spec).await;
    hands.bash(":").await;
    let (mut builtin, mut external, mut write, mut read) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let file = "/workspace/file";
    for _ in 0..rounds {
        let begin = Instant::now();
        hands.bash(":").await;
        builtin.push(begin.elapsed());
        let begin = Instant::now();
        hands.bash("/bin/true").await;
        external.push(begin.elapsed());
        let begin = Instant::now();
        hands.tool("write", &json!({ "file_path": file, "content": "some words\n" })).await;
        write.push(begin.elapsed());
        let begin = Instant::now();
        hands.tool("read", &json!({ "file_path": file })).await;
        read.push(begin.elapsed());
    }
    let program = program_time(&hands).await;
    stage.end(&spec).await;
    times("call: bash builtin", &builtin, Bound::AtMost(1.5), Bound::None);
    let less: Vec<Duration> = external.iter().map(|time| time.saturating_sub(program)).collect();
    let what =
        format!("call: bash /bin/true, less the {:.2} ms of the program", program.as_secs_f64() * 1000.0);
    times(&what, &less, Bound::AtMost(1.5), Bound::None);
    times("call: write a file", &write, Bound::AtMost(1.5), Bound::None);
    times("call: read a file", &read, Bound::AtMost(1.5), Bound::None);
}

/// What a shell inside takes for starting `/bin/true` and waiting for its end.
async fn program_time(hands: &Hands) -> Duration {
    const COUNT: u32 = 200;
    let loops = format!("for ((i = 0; i < {COUNT}; i++)); do /bin/true; done");
    let timed = format!("start=${{EPOCHREALTIME/./}}; {loops}; echo $((${{EPOCHREALTIME/./}} - start))");
    let micros = hands.bash(&timed).await.parse().unwrap();
    Duration::from_micros(micros) / COUNT
}

/// To sleep, and awake again with a call.
pub(crate) async fn freezing(stage: &Stage, rounds: usize) {
    let spec = stage.spec();
    stage.provision(&spec).await.bash(":").await;
    let (mut frozen, mut thawed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = Instant::now();
        assert!(stage.backend.freeze(&spec.session).await.unwrap());
        frozen.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begin = Instant::now();
        stage.provision(&spec).await.bash(":").await;
        thawed.push(begin.elapsed());
    }
    stage.end(&spec).await;
    times("freeze", &frozen, Bound::None, Bound::None);
    times("thaw, and a command in a new shell", &thawed, Bound::None, Bound::None);
}
