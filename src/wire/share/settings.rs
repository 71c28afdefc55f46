//! What a share group's settings are at the brokers (`kafka-configs --entity-type groups`): where it begins to read, how long its
//! locks are, how often a record is delivered.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use crate::wire::error::accepted;
use crate::wire::{Connection, WireError};

/// The resource type of groups (KIP-848).
const GROUP: i8 = 32;
/// The source of a value that was given to the group itself (DYNAMIC_GROUP_CONFIG).
const OF_GROUP: i8 = 8;
/// To set a value.
const SET: i8 = 0;

/// The value of one of a group's settings, the brokers' default where the group has none of its own.
///
/// # Errors
/// The broker is away or refuses.
pub async fn group_setting(connection: &Connection, group: &str, name: &str) -> Result<Option<String>, WireError> {
    let mut value = None;
    for result in describe(connection, group, Some(name)).await? {
        let mut configs = result.configs.into_iter();
        value = configs.find(|config| &*config.name == name).and_then(|config| config.value).or(value);
    }
    Ok(value.map(|value| value.to_string()))
}

/// One of a group's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSetting {
    /// Its name, such as `share.auto.offset.reset`.
    pub name: String,
    /// Its value; none if the broker keeps it to itself.
    pub value: Option<String>,
    /// Whether it was given to this group, and is not the brokers' default.
    pub own: bool,
}

/// All settings of a group, by name: also those that are for groups of another kind.
///
/// # Errors
/// As [`group_setting`].
pub async fn group_settings(connection: &Connection, group: &str) -> Result<Vec<GroupSetting>, WireError> {
    let mut settings = Vec::new();
    for result in describe(connection, group, None).await? {
        settings.extend(result.configs.into_iter().map(|config| GroupSetting {
            name: config.name.to_string(),
            value: config.value.map(|value| value.to_string()),
            own: config.config_source == OF_GROUP,
        }));
    }
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(settings)
}

async fn describe(
    connection: &Connection,
    group: &str,
    name: Option<&str>,
) -> Result<Vec<DescribeConfigsResult>, WireError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(StrBytes::from_string(group.to_owned()))
        .with_configuration_keys(name.map(|name| vec![StrBytes::from_string(name.to_owned())]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let described = connection.call(&request, ..).await?;
    for result in &described.results {
        accepted(&format!("describe settings of group {group}"), result.error_code)?;
    }
    Ok(described.results)
}

/// Gives a group a setting of its own; the group need not be there yet.
///
/// # Errors
/// As [`group_setting`].
pub async fn set_group_setting(connection: &Connection, group: &str, name: &str, value: &str) -> Result<(), WireError> {
    let setting = AlterableConfig::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_config_operation(SET)
        .with_value(Some(StrBytes::from_string(value.to_owned())));
    let resource = AlterConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(StrBytes::from_string(group.to_owned()))
        .with_configs(vec![setting]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let altered = connection.call(&request, ..).await?;
    let set = format!("set {name} of group {group}");
    altered.responses.iter().try_for_each(|response| accepted(&set, response.error_code))
}
