//! Tables of what is allowed and what is not.

use egress::Policy;
use egress::address;
use egress::decide;
use egress::decide::How;
use egress::decide::Rule;
use egress::decide::Target;
use egress::policy::Host;
use egress::policy::HostPattern;
use egress::policy::Hostname;
use egress::policy::Network;
use egress::policy::RequestRule;

use crate::stage::limited;
use crate::stage::pattern;
use crate::stage::route;

fn rule(policy: &Policy, host: &str, port: u16) -> (bool, Rule) {
    let target = Target { host: Host::parse(host).unwrap(), port, how: How::Connect };
    let decision = decide::decide(policy, &target);
    assert!(decision.text.contains(&target.host.to_string()), "{}", decision.text);
    (decision.allowed, decision.rule)
}

#[test]
fn a_pattern_matches_its_name_or_all_names_below_it() {
    let matches = |text: &str, name: &str| pattern(text).matches(&Hostname::parse(name).unwrap());
    let yes = [
        ("example.com", "example.com"),
        ("EXAMPLE.com.", "example.COM"),
        ("example.com", "example.com."),
        ("*.example.com", "www.example.com"),
        ("*.example.com", "a.b.example.com"),
        ("b\u{fc}cher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "B\u{dc}CHER.example"),
        ("*.b\u{fc}cher.example", "a.xn--bcher-kva.example"),
    ];
    for (text, name) in yes {
        assert!(matches(text, name), "{text} {name}");
    }
    let no = [
        ("example.com", "www.example.com"),
        ("example.com", "example.com.evil.test"),
        ("*.example.com", "example.com"),
        ("*.example.com", "evilexample.com"),
        ("*.example.com", "www.example.com.evil.test"),
    ];
    for (text, name) in no {
        assert!(!matches(text, name), "{text} {name}");
    }
    assert!(pattern("*.example.com").covers(&pattern("*.a.example.com")));
    assert!(pattern("*.example.com").covers(&pattern("a.example.com")));
    assert!(!pattern("example.com").covers(&pattern("*.example.com")));
    assert!(!pattern("*.a.example.com").covers(&pattern("*.example.com")));
}

#[test]
fn what_is_no_host_name_is_no_pattern() {
    let reasons = [
        ("https://example.com", "leave out the scheme"),
        ("example.com/path", "leave out the path"),
        ("example.com:443", "leave out the port"),
        ("10.0.0.1", "it is an IP address"),
        ("0x7f.1", "it is an IP address"),
        ("2130706433", "it is an IP address"),
        ("[::1]", "it is an IP address"),
        ("::1", "it is an IP address"),
        ("", "it is empty"),
        (".", "it is empty"),
        ("a..b", "it has an empty label"),
        ("*", "a wildcard may only stand for whole labels at the beginning"),
        ("a.*.com", "a wildcard may only stand for whole labels at the beginning"),
        ("*a.com", "a wildcard may only stand for whole labels at the beginning"),
        ("user@example.com", "only letters, digits, hyphens and dots may occur in it"),
        ("exa mple.com", "only letters, digits, hyphens and dots may occur in it"),
        ("example.123", "it ends in a number but is no IP address"),
        ("1.2.3.4.5", "it ends in a number but is no IP address"),
    ];
    for (text, reason) in reasons {
        assert_eq!(HostPattern::parse(text).unwrap_err().reason, reason, "{text}");
    }
    assert_eq!(
        HostPattern::parse(&format!("{}.com", "a".repeat(64))).unwrap_err().reason,
        "one of its labels is too long"
    );
}

#[test]
fn a_limited_session_reaches_its_hosts_on_the_ports_of_the_web() {
    let mut policy = limited(&["example.com", "*.wild.example"]);
    policy.blocked_hosts = vec![pattern("bad.wild.example")];
    policy.routes = vec![route("example.com", 8443, "127.0.0.1:1".parse().unwrap())];
    let table = [
        ("example.com", 443, true, Rule::AllowedHosts),
        ("EXAMPLE.com.", 80, true, Rule::AllowedHosts),
        ("a.wild.example", 443, true, Rule::AllowedHosts),
        ("example.com", 8443, true, Rule::AllowedHosts),
        ("a.wild.example", 8443, false, Rule::PortNotAllowed),
        ("example.com", 22, false, Rule::PortNotAllowed),
        ("wild.example", 443, false, Rule::HostNotAllowed),
        ("www.example.com", 443, false, Rule::HostNotAllowed),
        ("bad.wild.example", 443, false, Rule::BlockedHost),
        ("1.1.1.1", 443, false, Rule::AddressLiteral),
        ("[2606:4700::1111]", 443, false, Rule::AddressLiteral),
    ];
    for (host, port, allowed, name) in table {
        assert_eq!(rule(&policy, host, port), (allowed, name), "{host}:{port}");
    }
    assert_eq!(rule(&limited(&[]), "example.com", 443), (false, Rule::HostNotAllowed));
}

#[test]
fn an_unrestricted_session_reaches_all_but_blocked_names() {
    let mut policy = Policy::unrestricted();
    policy.blocked_hosts = vec![pattern("*.bad.example")];
    assert_eq!(rule(&policy, "example.com", 22), (true, Rule::Unrestricted));
    assert_eq!(rule(&policy, "1.1.1.1", 53), (true, Rule::Unrestricted));
    assert_eq!(rule(&policy, "very.bad.example", 443), (false, Rule::BlockedHost));
}

#[test]
fn names_of_this_machine_are_refused_unless_the_operator_leads_them_elsewhere() {
    let mut policy = Policy::unrestricted();
    for name in ["localhost", "LOCALHOST.", "db.localhost", "metadata.google.internal"] {
        assert_eq!(rule(&policy, name, 80), (false, Rule::AddressRefused), "{name}");
    }
    policy.routes = vec![route("db.localhost", 80, "127.0.0.1:1".parse().unwrap())];
    assert_eq!(rule(&policy, "db.localhost", 80), (true, Rule::Unrestricted));
}

#[test]
fn every_spelling_of_an_address_is_that_address() {
    let spellings = [
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0XA9FEA9FE",
        "025177524776",
        "0251.0376.0251.0376",
        "0xa9.0xfe.0xa9.0xfe",
        "169.254.43518",
        "169.16689662",
        "0xa9.254.0251.254",
        "[::ffff:169.254.169.254]",
        "::ffff:a9fe:a9fe",
        "\u{ff11}\u{ff16}\u{ff19}.254.169.254",
        "169\u{3002}254\u{3002}169\u{3002}254",
        "\u{2460}69.254.169.254",
    ];
    for text in spellings {
        let Ok(Host::Address(address)) = Host::parse(text) else { panic!("{text} is an address") };
        assert_eq!(address.to_string(), "169.254.169.254", "{text}");
        assert!(address::check_address(&Policy::unrestricted(), address).is_err(), "{text}");
        assert_eq!(rule(&limited(&["example.com"]), text, 80), (false, Rule::AddressLiteral), "{text}");
    }
}

#[test]
fn addresses_that_are_not_public_are_refused() {
    let refused = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 100.100.100.200 127.0.0.1 127.255.255.254 \
        168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 \
        198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 \
        :: ::1 ::10.0.0.1 ::8.8.8.8 ::ffff:8.8.8.8 ::ffff:10.0.0.1 ::ffff:0:8.8.8.8 64:ff9b::10.0.0.1 \
        64:ff9b::169.254.169.254 64:ff9b:1::1 100::1 2001:db8::1 2002:a00:1::1 2002:7f00:1::1 2002:a9fe:a9fe::1 \
        2001:0:1:2:3:4:f5ff:fffe fc00::1 fd00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 4000::1";
    for text in refused.split_whitespace() {
        let judged = address::judge(&Policy::unrestricted(), &[], text.parse().unwrap());
        assert!(judged.is_err(), "{text}");
    }
    let public = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
        172.15.255.255 172.32.0.0 192.0.1.1 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700::1111 \
        64:ff9b::8.8.8.8 2002:808:808::1 2001:0:1:2:3:4:f7f7:f7f7";
    for text in public.split_whitespace() {
        assert_eq!(address::judge(&Policy::unrestricted(), &[], text.parse().unwrap()), Ok(()), "{text}");
    }
}

#[test]
fn the_operator_permits_private_networks_and_refuses_public_ones() {
    let mut policy = Policy::unrestricted();
    policy.permitted_networks = ["10.1.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fd00::/8", "0.0.0.0/0"]
        .map(|text| text.parse::<Network>().unwrap())
        .to_vec();
    policy.refused_networks = vec!["8.8.8.0/24".parse().unwrap(), "10.1.2.0/24".parse().unwrap()];
    let judge =
        |text: &str| address::judge(&policy, &["10.1.0.9".parse().unwrap()], text.parse().unwrap()).is_ok();
    for allowed in ["10.1.0.1", "fd00::1", "8.8.4.4", "192.168.0.1"] {
        assert!(judge(allowed), "{allowed}");
    }
    // This host's own, those of metadata services, and what the operator refuses.
    for refused in
        ["10.1.0.9", "127.0.0.1", "169.254.169.254", "fd00:ec2::254", "8.8.8.8", "10.1.2.3", "198.18.1.0"]
    {
        assert!(!judge(refused), "{refused}");
    }
}

#[test]
fn the_hosts_own_addresses_are_refused() {
    let mut policy = Policy::unrestricted();
    policy.permitted_networks = vec!["0.0.0.0/0".parse().unwrap()];
    // Whichever address this machine would use to reach the outside; no packet is sent by this.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("203.0.113.1:9").is_ok() {
        let own = socket.local_addr().unwrap().ip();
        assert_eq!(address::check_address(&policy, own).unwrap_err().reason, "it is an address of this host");
    }
    assert!(address::check_address(&policy, "127.0.0.1".parse().unwrap()).is_err());
}

#[test]
fn rules_on_requests_compare_methods_and_plain_paths() {
    let mut policy = limited(&["api.example"]);
    policy.requests = vec![RequestRule {
        host: pattern("api.example"),
        methods: vec!["GET".into()],
        paths: vec!["/v1/*".into(), "/health".into()],
    }];
    let name = Hostname::parse("api.example").unwrap();
    let allowed = |method, path| decide::decide_request(&policy, &name, method, path).allowed;
    assert!(allowed("GET", "/v1/items?x=/../"));
    assert!(allowed("GET", "/health"));
    for path in [
        "/v2",
        "/v1",
        "/health/x",
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "/v1/..%2fadmin",
        "/v1//admin",
        "/v1/\\x",
    ] {
        assert!(!allowed("GET", path), "{path}");
    }
    assert!(!allowed("POST", "/v1/items"));
    let other = Hostname::parse("other.example").unwrap();
    assert!(decide::decide_request(&policy, &other, "POST", "/").allowed);
}

#[test]
fn a_policy_survives_the_wire_and_unknown_fields_are_refused() {
    let mut policy = limited(&["*.example.com"]);
    policy.permitted_networks = vec!["10.0.0.0/8".parse().unwrap()];
    policy.bytes_max = Some(7);
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    let odd = text.replacen('{', "{\"surprise\":1,", 1);
    assert!(serde_json::from_str::<Policy>(&odd).is_err());
    assert!("10.0.0.0/33".parse::<Network>().is_err());
}
