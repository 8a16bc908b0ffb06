//! Names that lead where nobody should go.

use egress::Policy;
use egress::decide::Rule;
use egress::policy::Hostname;

use crate::stage::Stage;
use crate::stage::Table;
use crate::stage::limited;

#[tokio::test]
async fn a_name_is_refused_when_any_of_its_addresses_is() {
    let table = [
        ("private.example", "10.0.0.1"),
        ("meta.example", "169.254.169.254"),
        ("loop.example", "127.0.0.1"),
        ("six.example", "::1"),
        ("mapped.example", "::ffff:10.0.0.1"),
        ("tunnel.example", "2002:7f00:1::"),
    ];
    for (name, address) in table {
        for policy in [Policy::unrestricted(), limited(&[name])] {
            for addresses in [vec![address], vec!["1.1.1.1", address]] {
                let stage = Stage::with(policy.clone(), Table::new(&[(name, &addresses)]));
                let request = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}\r\n\r\n");
                let answer = stage.ask(request.as_bytes()).await;
                assert!(
                    answer.starts_with("HTTP/1.1 403 ") && answer.contains("address_refused"),
                    "{answer}"
                );
                let entry = stage.decision(1).await;
                assert_eq!(
                    (entry.rule, entry.address),
                    (Rule::AddressRefused, Some(address.parse().unwrap()))
                );
            }
        }
    }
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_used() {
    // One lookup for a connection; a name that changes its mind between two lookups finds nobody to fool.
    let stage = Stage::with(Policy::unrestricted(), Table::new(&[("rebind.example", &["127.0.0.1"])]));
    let answer = stage.ask(b"CONNECT rebind.example:80 HTTP/1.1\r\nHost: rebind.example\r\n\r\n").await;
    assert!(answer.contains("address_refused"), "{answer}");
    assert_eq!(*stage.resolver.asked.lock().unwrap(), ["rebind.example"]);
}

#[test]
fn names_are_given_places_in_turn_and_the_oldest_is_given_up() {
    let mut names = egress::fake_ips::FakeIpTable::new(2);
    let name = |text: &str| Hostname::parse(text).unwrap();
    let first = names.address(&name("a.example"));
    let second = names.address(&name("b.example"));
    assert_eq!(names.name(first.into()), Some(name("a.example")));
    assert_eq!(names.address(&name("c.example")), second);
    assert_eq!(names.name(second.into()), Some(name("c.example")));
    assert_eq!(names.address(&name("a.example")), first);
    assert_eq!(names.name("198.18.0.53".parse().unwrap()), None);
}
