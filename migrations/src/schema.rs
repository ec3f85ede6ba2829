//! What a migration is, and what it may do to the schema.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr,
    prelude::async_trait::async_trait,
    sea_query::{
        ColumnDef, Iden, IndexCreateStatement, InsertStatement, Table, TableCreateStatement,
    },
};

/// One step of the schema's history. It is never undone: an older program works on a newer schema as long as the table
/// `compatibility` allows it.
#[async_trait]
pub(crate) trait Migrate: Sync {
    /// Changes the schema from the state that the migration before left.
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr>;
}

/// The schema, within the transaction of one migration. `SQLite` and `PostgreSQL` apply a migration as a whole or not
/// at all; the `MySQL` family commits at each change of the schema.
#[derive(Debug)]
pub(crate) struct Schema<'a>(pub(crate) &'a DatabaseTransaction);

impl Schema<'_> {
    pub(crate) fn backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    pub(crate) async fn create_table(&self, table: TableCreateStatement) -> Result<(), DbErr> {
        self.0.execute(&table).await.map(drop)
    }

    /// Adds columns to a table that exists.
    pub(crate) async fn add_columns(
        &self,
        table: impl Iden + Copy,
        columns: &[ColumnDef],
    ) -> Result<(), DbErr> {
        // SQLite adds one column with each statement. The MySQL family would commit each of them by itself.
        let at_once = match self.backend() {
            DbBackend::Sqlite => 1,
            _ => columns.len(),
        };
        for columns in columns.chunks(at_once) {
            let mut alter = Table::alter();
            alter.table(table);
            for column in columns {
                alter.add_column(column.clone());
            }
            self.0.execute(&alter).await?;
        }
        Ok(())
    }

    pub(crate) async fn create_index(&self, index: IndexCreateStatement) -> Result<(), DbErr> {
        self.0.execute(&index).await.map(drop)
    }

    pub(crate) async fn insert(&self, rows: InsertStatement) -> Result<(), DbErr> {
        self.0.execute(&rows).await.map(drop)
    }
}
