//! Who may use the API, and for what: keys, what they allow, and how often a wrong one may be tried.
//!
//! A key is a random text that its owner sends with each request. The gateway knows its hash only.

mod api_key;
mod audit_record;
mod caller;
mod key;
mod keyring;
mod refusal;
mod scope;
mod wrong_keys;

pub use api_key::{ApiKey, ConfiguredKey};
pub use audit_record::AuditRecord;
pub use caller::Caller;
pub use key::{KeyHash, KeyId, NewKey, PresentedKey, mask_keys};
pub use keyring::Keyring;
pub use refusal::KeyRefusal;
pub use scope::{Scope, Scopes};
pub(crate) use wrong_keys::WrongKeys;
