//! The first message of TLS, as a client sends it.

const SERVER_NAME: u16 = 0;
const SUPPORTED_VERSIONS: u16 = 0x2b;
const ENCRYPTED_HELLO: u16 = 0xfe0d;

/// A greeting that names a server, or none, with or without an encrypted greeting inside.
pub(crate) fn hello(server: Option<&str>, is_encrypted: bool) -> Vec<u8> {
    let mut extensions = extension(SUPPORTED_VERSIONS, &[2, 3, 4]);
    if let Some(server) = server {
        // A list of one name, of the kind that is a host's.
        let name = [&[0], sized(server.as_bytes()).as_slice()].concat();
        extensions.extend(extension(SERVER_NAME, &sized(&name)));
    }
    if is_encrypted {
        extensions.extend(extension(ENCRYPTED_HELLO, &[0, 0, 1, 0, 1, 7, 0, 0, 0, 0]));
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    // No session, one cipher, no compression.
    body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(&extensions));
    let message = [&[1, 0], sized(&body).as_slice()].concat();
    [&[0x16, 3, 1], sized(&message).as_slice()].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), sized(data).as_slice()].concat()
}

/// Bytes behind their number in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, bytes].concat()
}
