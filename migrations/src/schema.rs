//! What a migration is, and what it may do to the schema.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, RuntimeErr,
    prelude::async_trait::async_trait,
    sea_query::{
        Alias, ColumnDef, Iden, IndexCreateStatement, InsertStatement, Query, Table,
        TableCreateStatement,
    },
    sqlx::mysql::MySqlDatabaseError,
};

/// One step of the schema's history. It is never undone: an older program works on a newer schema as long as the table
/// `compatibility` allows it.
#[async_trait]
pub(crate) trait Migrate: Sync {
    /// Changes the schema from the state that the migration before left.
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr>;
}

/// The schema, within the transaction of one migration. `SQLite` and `PostgreSQL` apply a migration as a whole or not
/// at all. The `MySQL` family commits at each change of the schema, so a program that is killed leaves a part of a
/// migration, which is not recorded. The next start applies it again, and what is there already counts as done.
#[derive(Debug)]
pub(crate) struct Schema<'a>(pub(crate) &'a DatabaseTransaction);

impl Schema<'_> {
    pub(crate) fn backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    pub(crate) async fn create_table(&self, table: TableCreateStatement) -> Result<(), DbErr> {
        match self.0.execute(&table).await {
            Err(error) if is_done(&error) && self.has_columns_of(&table).await? => Ok(()),
            created => created.map(drop),
        }
    }

    /// Whether the table of this name has these columns, and is not that of another program.
    async fn has_columns_of(&self, table: &TableCreateStatement) -> Result<bool, DbErr> {
        let Some(name) = table.get_table_name() else {
            return Ok(false);
        };
        for column in table.get_columns() {
            let name_of = column.get_column_name();
            let select = Query::select()
                .column(Alias::new(name_of))
                .from(name.clone())
                .limit(0)
                .take();
            if self.0.query_all(&select).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
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
            done_before(self.0.execute(&alter).await)?;
        }
        Ok(())
    }

    pub(crate) async fn create_index(&self, index: IndexCreateStatement) -> Result<(), DbErr> {
        done_before(self.0.execute(&index).await)
    }

    pub(crate) async fn insert(&self, rows: InsertStatement) -> Result<(), DbErr> {
        done_before(self.0.execute(&rows).await)
    }
}

/// Errors of the `MySQL` family for a table, a column, an index or a row that is there already.
const EXISTS: [u16; 4] = [1050, 1060, 1061, 1062];

/// Whether a change failed because an earlier run, which was killed before it was recorded, has made it.
fn is_done(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) =
        error
    else {
        return false;
    };
    let error = source.as_database_error();
    error
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .is_some_and(|error| EXISTS.contains(&error.number()))
}

fn done_before(changed: Result<ExecResult, DbErr>) -> Result<(), DbErr> {
    match changed {
        Err(error) if is_done(&error) => Ok(()),
        changed => changed.map(drop),
    }
}
