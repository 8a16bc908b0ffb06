//! Names of hosts and what matches them.

use std::net::IpAddr;

use egress::policy::Host;
use egress::policy::HostPattern;
use egress::policy::Hostname;

/// The first line is a pattern, the second another one, the last a name. Normalising once is normalising for good; a
/// pattern matches what it says and nothing else.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let mut names: Vec<Hostname> = Vec::new();
    let mut patterns: Vec<HostPattern> = Vec::new();
    for line in lines.by_ref() {
        names.extend(host(line));
        patterns.extend(pattern(line));
    }
    for pattern in &patterns {
        let text = pattern.to_string();
        for name in &names {
            let is_matched = match text.strip_prefix("*.") {
                Some(apex) => {
                    name.as_str().strip_suffix(apex).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
                }
                None => name.as_str() == text,
            };
            assert_eq!(pattern.matches(name), is_matched, "{text} and {name}");
        }
        for other in &patterns {
            for name in names.iter().filter(|name| pattern.covers(other) && other.matches(name)) {
                assert!(pattern.matches(name), "{text} covers {other} and does not match {name}");
            }
        }
    }
}

fn host(text: &str) -> Option<Hostname> {
    match Host::parse(text).ok()? {
        Host::Address(address) => {
            assert_eq!(Host::parse(&address.to_string()), Ok(Host::Address(address)), "{text:?}");
            assert!(Hostname::parse(text).is_err() && HostPattern::parse(text).is_err());
            None
        }
        Host::Name(name) => {
            let plain = name.as_str();
            assert_eq!(Hostname::parse(plain).as_ref(), Ok(&name), "{text:?} is not normalised by {plain:?}");
            assert_eq!(Hostname::parse(&format!("{plain}.")).as_ref(), Ok(&name));
            assert_eq!(Hostname::parse(&plain.to_ascii_uppercase()).as_ref(), Ok(&name));
            assert!((1..=253).contains(&plain.len()));
            let is_plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            for label in plain.split('.') {
                assert!((1..=63).contains(&label.len()) && label.bytes().all(is_plain), "{plain:?}");
            }
            assert!(plain.parse::<IpAddr>().is_err(), "{plain:?} is an address");
            Some(name)
        }
    }
}

fn pattern(text: &str) -> Option<HostPattern> {
    let pattern = HostPattern::parse(text).ok()?;
    let plain = pattern.to_string();
    assert_eq!(HostPattern::parse(&plain).as_ref(), Ok(&pattern), "{text:?} is not normalised by {plain:?}");
    assert!(pattern.covers(&pattern));
    if let Some(apex) = plain.strip_prefix("*.") {
        let apex = Hostname::parse(apex).expect("a name follows");
        assert!(!pattern.matches(&apex), "{plain} matches its apex");
        assert!(!pattern.covers(&HostPattern::exact(apex.clone())));
        if let Ok(below) = Hostname::parse(&format!("x.{apex}")) {
            assert!(pattern.matches(&below));
        }
        if let Ok(beside) = Hostname::parse(&format!("x{apex}")) {
            assert!(!pattern.matches(&beside));
        }
    }
    Some(pattern)
}
