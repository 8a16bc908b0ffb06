//! A checkpoint and its restore, and sessions on a layer.

use std::time::Duration;
use std::time::Instant;

use sandbox::Backend;
use sandbox::Chunk;
use sandbox::LayerName;
use sandbox::Place;
use sandbox::Root;
use sandbox::Spec;

use crate::one::start;
use crate::stage::Stage;
use crate::table::Bound;
use crate::table::percentile;
use crate::table::times;
use crate::table::value;

pub(crate) async fn measure(stage: &Stage, rounds: usize) {
    let spec = stage.spec();
    let hands = stage.provision(&spec).await;
    stage.lend(&spec, &hands).await;
    hands.bash("figures inside tree /workspace/tree").await;
    let begin = Instant::now();
    let mut parts =
        vec![("shells put to rest", hands.sandbox.rest().await.map(|()| begin.elapsed()).unwrap())];
    let mut last = Instant::now();
    let mut part = |what: &'static str| {
        parts.push((what, last.elapsed()));
        last = Instant::now();
    };
    stage.backend.destroy(&spec.session, true).await.unwrap();
    part("sandbox ended");
    let packed = pack(stage, &spec).await;
    part("files packed");
    stage.end(&spec).await;
    part("files let go");
    unpack(stage, Place::Files { session: spec.session.clone(), limits: spec.limits }, &packed).await;
    part("files unpacked");
    let hands = stage.provision(&spec).await;
    assert_eq!(hands.bash("ls /workspace/tree/* | grep -c file-").await, "4400");
    part("sandbox made, files listed");
    let total: Duration = parts.iter().map(|(_, time)| *time).sum();
    let size = packed.len() >> 20;
    let what = format!("checkpoint and restore of 300 MB in 4,400 files ({size} MiB packed)");
    value(&what, total.as_secs_f64(), "s", Bound::AtMost(3.0));
    for (what, time) in parts {
        value(&format!("of which {what}"), time.as_secs_f64(), "s", Bound::None);
    }
    stage.end(&spec).await;
    on_layer(stage, &packed, rounds).await;
}

/// Sessions with a layer like the one that an environment's packages make, against those without one.
async fn on_layer(stage: &Stage, packed: &[u8], rounds: usize) {
    let layer: LayerName = "0123456789abcdef".repeat(4).parse().unwrap();
    unpack(stage, Place::Layer(layer.clone()), packed).await;
    let root = Root { layers: vec![layer.clone()], ..Root::default() };
    let with = || Spec { root: root.clone(), ..stage.own_kind() };
    let pause = Some(Duration::from_millis(30));
    // The first one, and then as many of both in turns, so that what else the machine does befalls both.
    let first = start(stage, 1, with, pause).await;
    let (mut on_layer, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.extend(start(stage, 1, || stage.own_kind(), pause).await);
        on_layer.extend(start(stage, 1, with, pause).await);
    }
    times("first session on a layer of 300 MB", &first, Bound::None, Bound::None);
    times("session without a layer", &plain, Bound::None, Bound::None);
    let bound = Bound::AtMost((percentile(&plain, 50) * 1.1 * 100.0).round() / 100.0);
    times("further session on the layer", &on_layer, bound, Bound::None);
    stage.backend.remove_layer(&layer).await.unwrap();
}

async fn pack(stage: &Stage, spec: &Spec) -> Vec<u8> {
    let mut reader = stage.backend.pack(&spec.session).await.unwrap();
    let mut all = Vec::new();
    while let Chunk::Bytes(bytes) = reader.next().await.unwrap() {
        all.extend(bytes);
    }
    all
}

async fn unpack(stage: &Stage, place: Place, packed: &[u8]) {
    let mut writer = loop {
        // The worker that packed is gone a moment after its last word.
        match stage.backend.unpack(&place).await {
            Ok(writer) => break writer,
            Err(error) => assert!(error.to_string().contains("runs"), "{error}"),
        }
    };
    writer.write(packed).await.unwrap();
    writer.finish().await.unwrap();
}
