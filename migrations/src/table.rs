//! What differs between the databases: how texts are compared, and how large a blob may be.

use sea_orm::{
    DbBackend,
    sea_query::{ColumnDef, IntoIden, IntoTableRef, Table, TableCreateStatement},
};

use crate::schema::Schema;

/// A table whose texts compare byte by byte, as `SQLite` does it: the default collations take `a` and `A`
/// for one vehicle, or sort by a language.
pub(crate) fn table(schema: &Schema<'_>, name: impl IntoTableRef) -> TableCreateStatement {
    let mut table = Table::create().table(name).take();
    if schema.backend() == DbBackend::MySql {
        table
            .engine("InnoDB")
            .character_set("utf8mb4")
            .collate("utf8mb4_bin");
    }
    table
}

/// A column of texts that identify something or are sorted by. `length` is the most characters that it takes.
pub(crate) fn text(schema: &Schema<'_>, column: impl IntoIden, length: u32) -> ColumnDef {
    let mut text = ColumnDef::new(column).string_len(length).take();
    if schema.backend() == DbBackend::Postgres {
        text.extra(r#"COLLATE "C""#);
    }
    text
}

/// A column of bytes, large enough for any blob.
pub(crate) fn bytes(schema: &Schema<'_>, column: impl IntoIden) -> ColumnDef {
    let mut bytes = ColumnDef::new(column);
    if schema.backend() == DbBackend::MySql {
        bytes.custom("LONGBLOB");
    } else {
        bytes.blob();
    }
    bytes
}
