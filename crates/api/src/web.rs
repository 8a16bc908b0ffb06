//! Limits of the tools that reach the web: which domains they may touch, and what `web_fetch` takes its URLs from.

use std::collections::HashSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::body::Field;
use crate::body::Object;
use crate::body::excerpt;
use crate::errors::Error;
use crate::limits::DOMAIN_CHARS_MAX;
use crate::limits::DOMAINS_MAX;
use crate::limits::NAME_CHARS_MAX;
use crate::limits::TOOL_NAME_CHARS_MAX;
use crate::limits::URL_SOURCE_TOOLS_MAX;
use crate::tools::ToolName;

/// Settings of `web_fetch` and `web_search`; all empty for every other tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebSettings {
    /// Only these domains and what is below them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_domains: Option<Vec<String>>,
    /// Anything but these domains and what is below them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_domains: Option<Vec<String>>,
    /// Most text of a page that reaches the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_content_tokens: Option<i64>,
    /// Where the user is, as an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_location: Option<Value>,
    /// What `web_fetch` takes its URLs from, as an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_sources: Option<Value>,
}

/// Names that mean a machine or network of one's own.
const PRIVATE_SUFFIXES: [&str; 5] = ["localhost", "local", "internal", "localdomain", "invalid"];

impl WebSettings {
    /// The fields that `tool` takes beside those of every tool.
    pub(crate) fn fields(tool: ToolName) -> &'static [&'static str] {
        match tool {
            ToolName::WebFetch => {
                &["allowed_domains", "blocked_domains", "max_content_tokens", "url_sources"]
            }
            ToolName::WebSearch => &["allowed_domains", "blocked_domains", "user_location"],
            ToolName::Bash
            | ToolName::Read
            | ToolName::Write
            | ToolName::Edit
            | ToolName::Glob
            | ToolName::Grep => &[],
        }
    }

    /// Reads the settings of `tool`.
    pub(crate) fn parse(object: &Object<'_>, tool: ToolName) -> Result<Self, Error> {
        if !tool.is_web() {
            return Ok(Self::default());
        }
        let may_have_path = tool == ToolName::WebSearch;
        let domains =
            |name: &'static str| object.opt(name, |field| parse_domains(field, name, may_have_path));
        let (allowed_domains, blocked_domains) = (domains("allowed_domains")?, domains("blocked_domains")?);
        if allowed_domains.is_some() && blocked_domains.is_some() {
            return Err(object.path().error("Only one of allowed_domains or blocked_domains may be set."));
        }
        Ok(Self {
            allowed_domains,
            blocked_domains,
            max_content_tokens: object.opt("max_content_tokens", |tokens| tokens.integer(1, i64::MAX))?,
            user_location: object.opt("user_location", parse_location)?,
            url_sources: object.opt("url_sources", parse_sources)?,
        })
    }
}

fn parse_domains(field: &Field<'_>, name: &str, may_have_path: bool) -> Result<Vec<String>, Error> {
    let list = field.list(0, DOMAINS_MAX)?;
    if list.count() == 0 {
        return Err(field.error("Empty list of domains is ambiguous. Provide at least one domain or null."));
    }
    let mut seen = HashSet::new();
    let mut domains = Vec::with_capacity(list.count());
    for item in list.each() {
        let domain = item.text_within(1, DOMAIN_CHARS_MAX)?;
        if let Some(fault) = find_fault(domain, may_have_path) {
            return Err(item.error(fault));
        }
        if !seen.insert(domain.trim_end_matches('/').to_ascii_lowercase()) {
            return Err(
                item.error(format_args!("The domain '{}' is in {name} more than once", excerpt(domain)))
            );
        }
        domains.push(domain.to_owned());
    }
    Ok(domains)
}

/// Says what is wrong with a domain.
fn find_fault(domain: &str, may_have_path: bool) -> Option<&'static str> {
    let plain = domain.strip_suffix('/').unwrap_or(domain);
    let (host, path) = plain.split_once('/').unwrap_or((plain, ""));
    if host.is_empty() || domain.contains("://") || host.contains(':') && host.parse::<IpAddr>().is_err() {
        return Some("provide a plain hostname like \"example.com\", without scheme or port");
    }
    if host.parse::<IpAddr>().is_ok() || host.split('.').next_back().is_some_and(is_number) {
        return Some("IP addresses are not supported; provide a plain hostname like \"example.com\"");
    }
    if !path.is_empty() && (!may_have_path || path.contains([' ', '?', '#', '$', ',', '|', '^', '!'])) {
        return Some("a path is not supported here; provide a plain hostname like \"example.com\"");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(is_plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !host.split('.').all(is_label) {
        return Some("not a hostname; use letters, digits, \"-\", \"_\" and \".\" (punycode for others)");
    }
    let last = host.rsplit('.').next().unwrap_or(host).to_ascii_lowercase();
    if !host.contains('.') || PRIVATE_SUFFIXES.contains(&last.as_str()) {
        return Some("provide a public domain like \"example.com\"");
    }
    None
}

fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match digits {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn parse_location(field: &Field<'_>) -> Result<Value, Error> {
    let (_, object) = field.tagged(&[("approximate", &["city", "country", "region", "timezone"])])?;
    for name in ["city", "region", "timezone"] {
        object.opt(name, |text| text.text_within(1, NAME_CHARS_MAX).map(|_| ()))?;
    }
    if let Some(country) = object.optional("country") {
        let code = country.text()?;
        if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(country.error("Input should be a two-letter country code in upper case"));
        }
    }
    Ok(field.value.clone())
}

/// Reads `url_sources` and writes every shorthand as an object, as answers carry it.
fn parse_sources(field: &Field<'_>) -> Result<Value, Error> {
    const KEYS: [&str; 3] = ["user_input", "server_tool_results", "client_tool_results"];
    let object = field.object_of(&KEYS)?;
    let mut sources = Map::new();
    for key in KEYS {
        let source = match object.optional(key) {
            Some(source) => parse_source(&source, key)?,
            None => json!({ "type": "all" }),
        };
        sources.insert(key.to_owned(), source);
    }
    if sources.values().all(|source| source["type"] == "none") {
        return Err(field.error("At least one source should not be \"none\""));
    }
    Ok(Value::Object(sources))
}

fn parse_source(field: &Field<'_>, key: &str) -> Result<Value, Error> {
    if field.value.is_string() {
        return Ok(json!({ "type": field.choice(&["all", "none"])? }));
    }
    let object = field.object()?;
    let tags: &[&'static str] =
        if key == "user_input" { &["all", "none"] } else { &["all", "none", "only", "except"] };
    let tag = object.tag(tags)?;
    if tag == "all" || tag == "none" {
        object.only(&["type"])?;
        return Ok(field.value.clone());
    }
    object.only(&["type", "tools"])?;
    let mut seen = HashSet::new();
    let mut tools = Vec::new();
    for item in object.required("tools")?.list(1, URL_SOURCE_TOOLS_MAX)?.each() {
        let reference = item.object_of(&["type", "name"])?;
        reference.opt("type", |kind| kind.choice(&["tool_reference"]))?;
        let name = reference.required("name")?;
        let text = match key {
            "server_tool_results" => name.choice(&["web_search", "web_fetch"])?,
            _ => name.text_within(1, TOOL_NAME_CHARS_MAX)?,
        };
        if !seen.insert(text.to_owned()) {
            return Err(name.error(format_args!("The tool '{}' is named more than once", excerpt(text))));
        }
        tools.push(json!({ "type": "tool_reference", "name": text }));
    }
    Ok(json!({ "type": tag, "tools": tools }))
}
