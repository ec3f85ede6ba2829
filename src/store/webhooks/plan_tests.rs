//! Query plans of `SQLite` for queues and messages that are due. The plans of servers are not tested.

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, EntityTrait, QueryTrait, Select,
    Statement,
};
use uuid::Uuid;
use vehicle_gateway_migrations::migrate;

use super::{
    claim::due_queues,
    endpoint::{Endpoint, SecretText},
    next_messages::next_ids,
    queries::due_endpoints,
};
use crate::{
    domain::{EventKinds, Timestamp},
    state::{Backlog, CircuitBreaker},
};

fn endpoint(ordered: bool) -> Endpoint {
    let at = Timestamp::from_millis(0);
    Endpoint {
        id: Uuid::from_u128(1),
        url: "https://fleet.example/".to_owned(),
        events: EventKinds::all(),
        devices: None,
        secret: SecretText(String::new()),
        previous_secret: None,
        ordered,
        coalesce: false,
        configured: false,
        disabled: None,
        created_at: at,
        updated_at: at,
        breaker: CircuitBreaker::default(),
        last_error: None,
        backlog: Backlog::default(),
        expired: 0,
    }
}

/// The steps of a query plan that read queues or messages, or sort.
async fn steps<E: EntityTrait>(db: &DatabaseConnection, select: Select<E>) -> Vec<String> {
    let Statement { sql, values, .. } = select.build(DbBackend::Sqlite);
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let explain = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values.unwrap());
    let rows = db.query_all_raw(explain).await.unwrap();
    let steps = rows
        .iter()
        .map(|row| row.try_get::<String>("", "detail").unwrap());
    steps
        .filter(|step| {
            ["webhook_lanes", "webhook_messages", "TEMP B-TREE"]
                .iter()
                .any(|it| step.contains(it))
        })
        .collect()
}

#[tokio::test]
async fn due_queues_and_messages_are_found_by_an_index_without_sorting() {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    migrate(&db).await.unwrap();
    let now = Timestamp::from_millis(1);
    let by_due = "SEARCH webhook_lanes USING INDEX webhook_lanes_due (endpoint_id=? AND due<?)";
    let due = due_queues(Uuid::from_u128(1), now, 32);
    assert_eq!(steps(&db, due).await, [by_due]);
    let next =
        "SEARCH webhook_lanes USING COVERING INDEX webhook_lanes_due (endpoint_id=? AND due>?)";
    assert_eq!(steps(&db, due_endpoints()).await, [next]);
    for ordered in [true, false] {
        let ids = next_ids(&endpoint(ordered), &["a", "b"], now);
        let steps = steps(&db, ids).await;
        let [queues, messages] = &steps[..] else {
            panic!("{steps:#?}");
        };
        assert!(queues.starts_with("SEARCH webhook_lanes USING"), "{queues}");
        assert_eq!(
            messages,
            "SEARCH webhook_messages USING INDEX webhook_messages_next \
             (endpoint_id=? AND device_id=? AND state=? AND sequence>?)"
        );
    }
}
