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
        let description = object.optional("description");
        let create = Self {
            name: object.required("name")?.text_within(1, NAME_CHARS_MAX)?.to_owned(),
            description: description
                .map(|text| text.text_within(0, DESCRIPTION_CHARS_MAX).map(str::to_owned))
                .transpose()?,
            config: match object.optional("config") {
                Some(config) => ConfigParams::parse(&config)?,
                None => ConfigParams::Cloud { networking: None, packages: PackagesParams::default() },
            },
            metadata: object
                .optional("metadata")
                .map(|field| field.metadata())
                .transpose()?
                .unwrap_or_default(),
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
            name: object
                .optional("name")
                .map(|name| name.text_within(1, NAME_CHARS_MAX).map(str::to_owned))
                .transpose()?,
            description: object
                .patch("description")
                .try_map(|text| text.text_within(0, DESCRIPTION_CHARS_MAX).map(str::to_owned))?,
            config: object.optional("config").map(|config| ConfigParams::parse(&config)).transpose()?,
            metadata: object
                .optional("metadata")
                .map(|field| field.metadata_patch(true))
                .transpose()?
                .unwrap_or_default(),
        };
        check_scope(&object)?;
        Ok(update)
    }
}

impl ConfigParams {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        let object = field.object()?;
        if object.tag(&["cloud", "self_hosted"])? == "self_hosted" {
            object.only(&["type"])?;
            return Ok(Self::SelfHosted);
        }
        object.only(&["type", "networking", "packages"])?;
        let networking = object.optional("networking");
        let installed = object.optional("packages");
        Ok(Self::Cloud {
            networking: networking.map(|field| NetworkingParams::parse(&field)).transpose()?,
            packages: installed.map(|field| packages::parse(&field)).transpose()?.unwrap_or_default(),
        })
    }
}

impl NetworkingParams {
    fn parse(field: &Field<'_>) -> Result<Self, Error> {
        let object = field.object()?;
        if object.tag(&["unrestricted", "limited"])? == "unrestricted" {
            object.only(&["type"])?;
            return Ok(Self::Unrestricted);
        }
        object.only(&["type", "allow_mcp_servers", "allow_package_managers", "allowed_hosts"])?;
        let flag = |name| object.optional(name).map(|flag| flag.boolean()).transpose();
        Ok(Self::Limited {
            allow_mcp_servers: flag("allow_mcp_servers")?,
            allow_package_managers: flag("allow_package_managers")?,
            allowed_hosts: object.optional("allowed_hosts").map(|field| hosts::parse(&field)).transpose()?,
        })
    }
}

fn check_scope(object: &Object<'_>) -> Result<(), Error> {
    let Some(scope) = object.optional("scope") else {
        return Ok(());
    };
    match scope.choice(&["organization", "account"])? {
        "account" => Err(scope.error("Only 'organization' is supported")),
        _ => Ok(()),
    }
}
