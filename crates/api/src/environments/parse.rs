//! Requests that create and update environments, read field by field.

use crate::body;
use crate::body::Field;
use crate::body::Object;
use crate::environments::ConfigParams;
use crate::environments::EnvironmentCreate;
use crate::environments::EnvironmentUpdate;
use crate::environments::NetworkingParams;
use crate::environments::PackagesParams;
use crate::environments::hosts;
use crate::environments::packages;
use crate::errors::Error;
use crate::limits::DESCRIPTION_CHARS_MAX;
use crate::limits::NAME_CHARS_MAX;
use crate::unbuilt;

const FIELDS: [&str; 5] = ["name", "description", "config", "metadata", "scope"];

impl EnvironmentCreate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = body::object(bytes)?;
        let object = Object::root(&fields);
        object.only(&FIELDS)?;
        let create = Self {
            name: object.require("name", |name| name.string(1, NAME_CHARS_MAX))?,
            description: object.opt("description", |text| text.string(0, DESCRIPTION_CHARS_MAX))?,
            config: object.opt("config", ConfigParams::parse)?.unwrap_or_else(ConfigParams::empty),
            metadata: object.metadata()?,
        };
        check_scope(&object)?;
        create.config.clone().resolve()?;
        unbuilt::refuse_config(&create.config)?;
        Ok(create)
    }
}

impl EnvironmentUpdate {
    /// Reads the body of a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let fields = body::object(bytes)?;
        let object = Object::root(&fields);
        object.only(&FIELDS)?;
        let update = Self {
            name: object.opt("name", |name| name.string(1, NAME_CHARS_MAX))?,
            description: object.patched("description", |text| text.string(0, DESCRIPTION_CHARS_MAX))?,
            config: object.opt("config", ConfigParams::parse)?,
            metadata: object.opt_or_default("metadata", |field| field.metadata_patch(true))?,
        };
        check_scope(&object)?;
        Ok(update)
    }
}

impl ConfigParams {
    fn empty() -> Self {
        Self::Cloud { networking: None, packages: PackagesParams::default() }
    }

    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        match field.tagged(&[("cloud", &["networking", "packages"]), ("self_hosted", &[])])? {
            ("self_hosted", _) => Ok(Self::SelfHosted),
            (_, object) => Ok(Self::Cloud {
                networking: object.opt("networking", NetworkingParams::parse)?,
                packages: object.opt_or_default("packages", packages::parse)?,
            }),
        }
    }
}

impl NetworkingParams {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        const LIMITED: [&str; 3] = ["allow_mcp_servers", "allow_package_managers", "allowed_hosts"];
        match field.tagged(&[("unrestricted", &[]), ("limited", &LIMITED)])? {
            ("unrestricted", _) => Ok(Self::Unrestricted),
            (_, object) => Ok(Self::Limited {
                allow_mcp_servers: object.flag("allow_mcp_servers")?,
                allow_package_managers: object.flag("allow_package_managers")?,
                allowed_hosts: object.opt("allowed_hosts", hosts::parse)?,
            }),
        }
    }
}

fn check_scope(object: &Object<'_>) -> Result<(), Error> {
    object.opt_or_default("scope", |scope| match scope.choice(&["organization", "account"])? {
        "account" => Err(scope.error("Only 'organization' is supported")),
        _ => Ok(()),
    })
}
