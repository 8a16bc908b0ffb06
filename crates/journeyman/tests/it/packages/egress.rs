//! What `GET /x/v1/environments/{id}/egress` shows is what sandboxes get: a reader who knows nothing but the answer tells
//! for every host whether it can be reached, and a session tries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;
use serde_json::json;
use testkit::registry::Registry;

use super::site::Site;
use super::site::limited;
use super::site::text;

/// What is tried. Every name is led to loopback or refused, and every address is one that is refused.
const TARGETS: &[(&str, u16)] = &[
    ("allowed.test", 80),
    ("ALLOWED.test", 80),
    ("allowed.test", 8080),
    ("sub.allowed.test", 80),
    ("wild.test", 80),
    ("a.wild.test", 80),
    ("a.b.wild.test", 80),
    ("blocked.test", 80),
    ("mirror.test", 80),
    ("ported.test", 80),
    ("ported.test", 8080),
    ("ported.test", 8081),
    ("index.test", 80),
    ("other.test", 80),
    ("10.1.2.3", 80),
    ("169.254.169.254", 80),
    ("192.168.0.1", 8080),
    ("203.0.113.7", 80),
    ("198.51.100.1", 80),
];
const PAGE: &str = "this is the server of the test";

/// A reader of the answer.
struct Reader(Value);

impl Reader {
    fn list(&self, field: &str) -> &Vec<Value> {
        self.0[field].as_array().unwrap_or_else(|| panic!("no {field} in {}", self.0))
    }

    /// Whether a host can be reached on a port.
    fn allows(&self, host: &str, port: u16) -> bool {
        if self.0["is_off"] == true {
            return false;
        }
        let is_limited = self.0["networking"]["type"] == "limited";
        if let Ok(address) = host.parse::<IpAddr>() {
            let is_in = |entry: &Value| is_in(address, text(entry, "network"));
            return !is_limited && !self.list("refused_networks").iter().any(is_in);
        }
        let host = host.to_ascii_lowercase();
        if self.list("blocked_hosts").iter().any(|pattern| matches(pattern.as_str().unwrap(), &host)) {
            return false;
        }
        if !is_limited {
            return self.0["ports"] == "all";
        }
        let is_led = |route: &Value| route["port"] == port && matches(text(route, "host"), &host);
        let is_port_open =
            self.list("ports").contains(&json!(port)) || self.list("routes").iter().any(is_led);
        is_port_open && self.list("rules").iter().any(|rule| matches(text(rule, "host"), &host))
    }
}

fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => host == pattern,
    }
}

fn is_in(address: IpAddr, network: &str) -> bool {
    let (start, bits) = network.split_once('/').unwrap();
    match (address, start.parse().unwrap()) {
        (IpAddr::V4(address), IpAddr::V4(start)) => {
            let shift = 32 - bits.parse::<u32>().unwrap();
            let cut = |address: std::net::Ipv4Addr| u64::from(address.to_bits()) >> shift;
            cut(address) == cut(start)
        }
        _ => false,
    }
}

/// A command that tries every target: through the proxy that the environment names, through SOCKS, through a tunnel, and
/// by a plain connection, which works on every port where the kernel can lead it to the proxy and else on the web's.
fn attempts() -> String {
    let mut script = String::from(
        "try() { if grep -q 'the server of the test'; then echo \"$1 yes\"; else echo \"$1 no\"; fi; }\n",
    );
    for (at, (host, port)) in TARGETS.iter().enumerate() {
        let url = format!("http://{host}:{port}/page");
        writeln!(
            script,
            "curl -s -m 20 {url} 2>&1 | try '{at} request'\n\
             curl -s -m 20 -p {url} 2>&1 | try '{at} tunnel'\n\
             curl -s -m 20 -x \"$ALL_PROXY\" {url} 2>&1 | try '{at} socks'"
        )
        .unwrap();
        if *port == 80 {
            writeln!(
                script,
                "{{ exec 3<>/dev/tcp/{host}/{port} && printf 'GET /page HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' >&3 \
                 && timeout 20 cat <&3; exec 3>&-; }} 2>/dev/null | try '{at} plain'"
            )
            .unwrap();
        }
    }
    script
}

fn check(site: &Site, networking: &Value) -> usize {
    let config = json!({"type": "cloud", "networking": networking});
    let settings = json!({"variables": {"PIP_INDEX_URL": "http://index.test/simple/"}});
    let environment = site.environment(&config, &settings);
    let shown = Reader(site.egress(&environment));
    let ran = site.run(&environment, &attempts());
    let tried: BTreeMap<&str, &str> = ran.text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
    let mut reached = 0;
    for (at, (host, port)) in TARGETS.iter().enumerate() {
        let expected = if shown.allows(host, *port) { "yes" } else { "no" };
        for how in ["request", "tunnel", "socks", "plain"] {
            if how == "plain" && *port != 80 {
                continue;
            }
            let got = tried.get(format!("{at} {how}").as_str());
            assert_eq!(got, Some(&expected), "{how} to {host}:{port} under {networking}\n{}", ran.text);
        }
        reached += usize::from(expected == "yes");
    }
    reached
}

fn operator(registry: &Registry) -> String {
    let address = registry.address();
    format!(
        "[network]\npackage_hosts = [\"mirror.test\"]\nblocked_hosts = [\"blocked.test\"]\n\
         refused_networks = [\"203.0.113.0/24\"]\n\
         [[network.routes]]\nhost = \"ported.test\"\nport = 8080\nto = \"{address}\"\n\
         [[network.routes]]\nhost = \"*.test\"\nto = \"{address}\"\n"
    )
}

fn check_all(open: impl Fn(&str) -> Option<Site>) {
    let registry = Registry::start([("/page".to_owned(), PAGE.into())].into()).unwrap();
    let Some(site) = open(&operator(&registry)) else { return };
    let hosts = ["allowed.test", "*.wild.test", "blocked.test", "ported.test"];
    let reached = [
        check(&site, &limited(&hosts, true)),
        check(&site, &limited(&hosts, false)),
        check(&site, &limited(&[], false)),
        check(&site, &json!({"type": "unrestricted"})),
    ];
    assert_eq!(reached, [8, 6, 0, 13], "the table tries what is allowed and what is not");
    let refused = registry.asked().len();
    assert_eq!(refused, reached.iter().sum::<usize>() * 4 - 5, "nothing refused came to the server");
}

#[test]
fn sandboxes_reach_what_clients_are_shown() {
    check_all(|more| Some(Site::new(more)));
}

#[test]
fn sandboxes_of_a_user_with_a_single_id_reach_what_clients_are_shown() {
    check_all(Site::of_single_id);
}

#[test]
fn without_a_network_nothing_is_reached() {
    let registry = Registry::start([("/page".to_owned(), PAGE.into())].into()).unwrap();
    let site = Site::new(&operator(&registry).replacen("[network]", "[network]\nenabled = false", 1));
    assert_eq!(check(&site, &json!({"type": "unrestricted"})), 0);
    assert_eq!(registry.asked(), Vec::<String>::new());
}
