//! The way out of a sandbox, measured from inside, to a server on this machine.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;

use egress::Policy;
use egress::policy::HostPattern;
use egress::policy::Route;
use sandbox::Spec;

use crate::inside;
use crate::stage::Stage;
use crate::table::Bound;
use crate::table::value;

pub(crate) async fn measure(stage: &Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let mut policy = Policy::unrestricted();
    let host = HostPattern::parse(inside::HOST).unwrap();
    policy.routes = vec![Route { host, port: None, to: address }];
    let spec = Spec { network: Some(Arc::new(policy)), ..stage.spec() };
    let hands = stage.provision(&spec).await;
    stage.lend(&spec, &hands).await;
    let said = hands.bash("figures inside network").await;
    stage.end(&spec).await;
    for line in said.lines() {
        let (what, number) = line.rsplit_once(' ').unwrap();
        let number: f64 = number.parse().unwrap();
        match what.split_once(' ').unwrap() {
            ("rate", what) => value(what, number, "MiB/s", Bound::AtLeast(500.0)),
            ("bounded", what) => value(what, number, "ms", Bound::AtMost(0.5)),
            (_, what) => value(what, number, "ms", Bound::None),
        }
    }
}

/// Swallows, sends or answers, as the first byte behind the greeting says.
fn serve(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut greeting = [0; inside::GREETING.len() + 1];
    stream.read_exact(&mut greeting).ok()?;
    let mut buffer = vec![0; 1 << 20];
    match greeting.last()? {
        b'u' => {
            let mut left = inside::BYTES;
            while left > 0 {
                left -= stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
            }
            stream.write_all(b"d").ok()
        }
        b'd' => (0..inside::BYTES / buffer.len()).try_for_each(|_| stream.write_all(&buffer).ok()),
        _ => stream.write_all(b"e").ok(),
    }
}
