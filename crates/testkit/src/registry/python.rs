//! What pip installs.

use std::collections::BTreeMap;

use super::zip::zip;

/// An index (PEP 503) of one pure package of one module, whose text is `source`.
pub fn python_index(name: &str, version: &str, source: &str) -> BTreeMap<String, Vec<u8>> {
    let wheel = format!("{name}-{version}-py3-none-any.whl");
    let info = format!("{name}-{version}.dist-info");
    let files = [
        (format!("{name}.py"), source.to_owned()),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: testkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
        (
            format!("{info}/RECORD"),
            format!("{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"),
        ),
    ];
    let list = format!("<!DOCTYPE html><html><body><a href=\"/files/{wheel}\">{wheel}</a></body></html>");
    [(format!("/simple/{name}/"), list.into_bytes()), (format!("/files/{wheel}"), zip(&files))].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_leads_to_the_wheel() {
        let files = python_index("thing", "1.0", "x = 1\n");
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["/files/thing-1.0-py3-none-any.whl", "/simple/thing/"]);
        assert!(files["/files/thing-1.0-py3-none-any.whl"].starts_with(b"PK\x03\x04"));
    }
}
