//! A row of `api_keys`: a key of the API.

use std::str::FromStr as _;

use sea_orm::{ActiveValue::Set, entity::prelude::*};

use crate::{
    access::{ApiKey, KeyHash, KeyId, Scope, Scopes},
    domain::Timestamp,
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) previous_hash: Option<String>,
    pub(crate) previous_until: Option<i64>,
    /// Names of scopes, joined by commas.
    pub(crate) scopes: String,
    pub(crate) created_at: i64,
    pub(crate) created_by: Option<String>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&ApiKey> for ActiveModel {
    fn from(key: &ApiKey) -> Self {
        let previous = key.previous.as_ref();
        let scopes: Vec<&str> = key.scopes.iter().map(Scope::as_str).collect();
        let millis = |time: Option<Timestamp>| Set(time.map(Timestamp::as_millis));
        Self {
            id: Set(key.id.to_string()),
            name: Set(key.name.clone()),
            hash: Set(key.hash.to_string()),
            previous_hash: Set(previous.map(|(hash, _)| hash.to_string())),
            previous_until: millis(previous.map(|(_, until)| *until)),
            scopes: Set(scopes.join(",")),
            created_at: Set(key.created_at.as_millis()),
            created_by: Set(key.created_by.clone()),
            expires_at: millis(key.expires_at),
            revoked_at: millis(key.revoked_at),
            last_used_at: millis(key.last_used_at),
        }
    }
}

impl TryFrom<Model> for ApiKey {
    type Error = StoreError;

    /// A scope that is not known, because a newer version has written it, allows nothing here.
    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "api_keys",
            column,
        };
        let hash = |text: &str, column| KeyHash::parse(text).ok_or(corrupt(column));
        let previous = row.previous_hash.as_deref();
        let previous = previous.map(|text| hash(text, "previous_hash"));
        let scopes = row.scopes.split(',').map(Scope::from_str);
        let has_unknown_scopes = scopes.clone().any(|scope| scope.is_err());
        let known: Scopes = scopes.filter_map(Result::ok).collect();
        Ok(Self {
            id: KeyId::parse(&row.id).ok_or(corrupt("id"))?,
            hash: hash(&row.hash, "hash")?,
            previous: previous
                .transpose()?
                .zip(row.previous_until.map(Timestamp::from_millis)),
            scopes: known,
            has_unknown_scopes,
            name: row.name,
            created_at: Timestamp::from_millis(row.created_at),
            created_by: row.created_by,
            expires_at: row.expires_at.map(Timestamp::from_millis),
            revoked_at: row.revoked_at.map(Timestamp::from_millis),
            last_used_at: row.last_used_at.map(Timestamp::from_millis),
        })
    }
}
