//! The DNS stub's messages.

use std::net::Ipv4Addr;

use egress::dns::Code;
use egress::dns::Malformed;
use egress::dns::answer_malformed;
use egress::dns::parse;

const HEADER_BYTES: usize = 12;
/// What fits into a packet without any extension.
const ANSWER_BYTES_MAX: usize = 512;

/// An answer repeats the id and the question, is an answer, and is short.
pub fn check(message: &[u8]) {
    match parse(message) {
        Ok(query) => {
            assert!(query.name.len() <= 253);
            assert!(query.name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()));
            for (code, address) in
                [(Code::NoError, Some(Ipv4Addr::new(198, 18, 1, 2))), (Code::NameError, None)]
            {
                let answer = query.answer(code, address);
                check_head(message, &answer, code);
                let tail = if address.is_some() { 16 } else { 0 };
                let question = &answer[HEADER_BYTES..answer.len() - tail];
                assert!(message[HEADER_BYTES..].starts_with(question), "another question is repeated");
                assert_eq!(answer[4..12], [0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
                // As a query once more: the same question.
                let mut asked = answer[..HEADER_BYTES + question.len()].to_vec();
                asked[2] &= 0x7f;
                asked[3] = 0;
                asked[6..8].fill(0);
                let again = parse(&asked).expect("the question is well-formed");
                assert_eq!((&again.name, again.kind), (&query.name, query.kind));
                if let Some(address) = address {
                    let record = &answer[answer.len() - 16..];
                    assert_eq!(record[..6], [0xc0, 12, 0, 1, 0, 1]);
                    assert_eq!(record[10..12], [0, 4]);
                    assert_eq!(record[12..], address.octets());
                }
            }
        }
        Err(Malformed::Answer { id, code }) => {
            assert_ne!(code, Code::NoError);
            check_head(message, &answer_malformed(id, code), code);
        }
        Err(Malformed::Silence) => {
            assert!(
                message.len() < HEADER_BYTES || message[2] & 0x80 != 0,
                "a query is left without an answer"
            );
        }
    }
}

fn check_head(message: &[u8], answer: &[u8], code: Code) {
    assert!(answer.len() <= ANSWER_BYTES_MAX);
    assert_eq!(answer[..2], message[..2], "the id is another one");
    assert_eq!(answer[2] & 0xfe, 0x80, "it is no plain answer");
    assert_eq!(answer[3], 0x80 | code as u8);
    assert_eq!(parse(answer), Err(Malformed::Silence), "an answer would be answered");
}
