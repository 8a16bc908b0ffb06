//! Every bound on what a request may hold, with its reason. The documented ones are those of the reference API; the
//! others keep one request from being a burden, far above what a real client sends.

/// Levels of nesting in a request body: deeper JSON is no real request and costs stack to walk.
pub const DEPTH_MAX: usize = 64;

/// Pairs of metadata on any object (documented).
pub const METADATA_PAIRS_MAX: usize = 16;
/// Characters of a metadata key (documented).
pub const METADATA_KEY_CHARS_MAX: usize = 64;
/// Characters of a metadata value (documented).
pub const METADATA_VALUE_CHARS_MAX: usize = 512;

/// Characters of the name of an agent or environment (documented for agents).
pub const NAME_CHARS_MAX: usize = 256;
/// Characters of the description of an agent or environment (documented for agents).
pub const DESCRIPTION_CHARS_MAX: usize = 2_048;
/// Characters of a system prompt (documented).
pub const SYSTEM_CHARS_MAX: usize = 100_000;
/// Characters of a model id: the longest that any documented field takes.
pub const MODEL_CHARS_MAX: usize = 256;
/// Characters of a session's title: a line for people.
pub const TITLE_CHARS_MAX: usize = 1_024;

/// Tools of an agent over all its toolsets (documented).
pub const TOOLS_MAX: usize = 256;
/// MCP servers of an agent (documented).
pub const MCP_SERVERS_MAX: usize = 20;
/// Characters of the name of an MCP server (documented).
pub const MCP_SERVER_NAME_CHARS_MAX: usize = 255;
/// Characters of the name of a custom or MCP tool (documented).
pub const TOOL_NAME_CHARS_MAX: usize = 128;
/// Characters of the description of a custom tool: as much as a whole system prompt.
pub const TOOL_DESCRIPTION_CHARS_MAX: usize = SYSTEM_CHARS_MAX;
/// Characters of a property's name in a custom tool's schema (documented).
pub const PROPERTY_NAME_CHARS_MAX: usize = 64;
/// Characters of the URL of an MCP server (documented).
pub const URL_CHARS_MAX: usize = 2_048;
/// Characters of the URL of an image or document: signed URLs are long, but servers refuse longer ones than this.
pub const CONTENT_URL_CHARS_MAX: usize = 8_192;
/// Characters of a role's ARN (documented).
pub const ROLE_ARN_CHARS_MAX: usize = 2_048;
/// Skills of an agent (documented).
pub const SKILLS_MAX: usize = 20;
/// Entries of a list of web domains, and characters of each (documented).
pub const DOMAINS_MAX: usize = 64;
/// Characters of one web domain (documented).
pub const DOMAIN_CHARS_MAX: usize = 255;
/// Names in a list of URL sources (documented).
pub const URL_SOURCE_TOOLS_MAX: usize = 128;

/// Packages per package manager of an environment.
pub const PACKAGES_MAX: usize = 1_000;
/// Characters of one package with its version.
pub const PACKAGE_CHARS_MAX: usize = 512;
/// Hosts that an environment allows.
pub const HOSTS_MAX: usize = 1_000;
/// Characters of the name of an image.
pub const IMAGE_CHARS_MAX: usize = 64;
/// Characters of the name of a resource class.
pub const RESOURCE_CLASS_CHARS_MAX: usize = 64;
/// Characters of a setup script: what does more than this fetches it.
pub const SETUP_CHARS_MAX: usize = 65_536;
/// Environment variables of sandboxes.
pub const VARIABLES_MAX: usize = 256;
/// Characters of the name of an environment variable.
pub const VARIABLE_NAME_CHARS_MAX: usize = 256;
/// Characters of the value of an environment variable.
pub const VARIABLE_CHARS_MAX: usize = 32_768;
/// Characters of all environment variables: the kernel takes 2 MiB with the arguments, and programs want room of it.
pub const VARIABLES_CHARS_MAX: usize = 131_072;

/// Events of one send: many more than a person or program sends at once.
pub const EVENTS_MAX: usize = 1_000;
/// Events given when a session is created (documented).
pub const INITIAL_EVENTS_MAX: usize = 50;
/// Documents taken from files over all initial events (documented).
pub const FILE_DOCUMENTS_MAX: usize = 100;
/// Texts of a `system.message` (documented).
pub const SYSTEM_BLOCKS_MAX: usize = 1_000;
/// Characters of an outcome's rubric (documented).
pub const RUBRIC_CHARS_MAX: usize = 262_144;
/// Rounds of an outcome (documented).
pub const OUTCOME_ITERATIONS_MAX: i64 = 20;
/// Resources of a session (documented).
pub const RESOURCES_MAX: usize = 500;
/// Vaults of a session: as documented for deployments.
pub const VAULTS_MAX: usize = 50;
/// Values of `event_deltas[]` (documented), and of any other repeated query parameter.
pub const QUERY_VALUES_MAX: usize = 100;
/// Bytes of a page cursor; ours are below a hundred.
pub const CURSOR_BYTES_MAX: usize = 512;

/// Objects on a page when the request does not say.
pub const PAGE_DEFAULT: usize = 20;
/// Objects on a page at most (documented for most lists).
pub const PAGE_MAX: usize = 100;
/// Events and threads on a page, by default and at most (documented for threads).
pub const LONG_PAGE_MAX: usize = 1_000;
