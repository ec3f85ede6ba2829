//! What differs between the databases: how names are compared, and how large a blob may be.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

/// A table whose texts compare byte by byte, as `SQLite` does it: the default collations take `a` and `A`
/// for one vehicle, or sort by a language.
pub(crate) fn table(manager: &SchemaManager<'_>, name: impl IntoTableRef) -> TableCreateStatement {
    let mut table = Table::create().table(name).take();
    if manager.get_database_backend() == DatabaseBackend::MySql {
        table
            .engine("InnoDB")
            .character_set("utf8mb4")
            .collate("utf8mb4_bin");
    }
    table
}

/// A text that identifies something or is sorted by.
pub(crate) fn text(manager: &SchemaManager<'_>, column: impl IntoIden, length: u32) -> ColumnDef {
    let mut text = ColumnDef::new(column).string_len(length).take();
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        text.extra(r#"COLLATE "C""#);
    }
    text
}

/// Bytes, as many as may come.
pub(crate) fn bytes(manager: &SchemaManager<'_>, column: impl IntoIden) -> ColumnDef {
    let mut bytes = ColumnDef::new(column);
    if manager.get_database_backend() == DatabaseBackend::MySql {
        bytes.custom("LONGBLOB");
    } else {
        bytes.blob();
    }
    bytes
}
