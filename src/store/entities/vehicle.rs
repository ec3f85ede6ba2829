//! A row of `vehicles`, and the vehicle it stands for.

use sea_orm::entity::prelude::*;

use crate::{
    domain::{
        Battery, Degrees, DeviceId, DisconnectReason, OutOfRange, ReportInterval, Running,
        Timestamp, Vehicle,
    },
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "vehicles")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) device_id: String,
    pub(crate) online: bool,
    pub(crate) session_epoch: i64,
    /// The instance that holds the session; NULL once the session has ended.
    pub(crate) instance_id: Option<String>,
    pub(crate) connected_at: Option<i64>,
    pub(crate) disconnected_at: Option<i64>,
    pub(crate) disconnect_reason: Option<String>,
    pub(crate) offline_due: Option<i64>,
    pub(crate) remote_addr: Option<String>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    pub(crate) battery: Option<i16>,
    pub(crate) running: Option<bool>,
    pub(crate) reported_at: Option<i64>,
    pub(crate) last_heartbeat: Option<i64>,
    pub(crate) update_frequency: Option<i16>,
    pub(crate) acknowledged_update_frequency: Option<i16>,
    pub(crate) created_at: i64,
    /// Never goes back: the clock by which everything of this vehicle is stamped.
    pub(crate) updated_at: i64,
    /// Set while the row is a tombstone: it keeps the epoch, and nothing else of the vehicle.
    pub(crate) deleted_at: Option<i64>,
    pub(crate) forget_through: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// A vehicle first heard of at `now`, about which nothing is known.
    pub(crate) fn new(device_id: &DeviceId, now: i64) -> Self {
        Self {
            device_id: device_id.as_str().to_owned(),
            online: false,
            session_epoch: 0,
            instance_id: None,
            connected_at: None,
            disconnected_at: None,
            disconnect_reason: None,
            offline_due: None,
            remote_addr: None,
            latitude: None,
            longitude: None,
            battery: None,
            running: None,
            reported_at: None,
            last_heartbeat: None,
            update_frequency: None,
            acknowledged_update_frequency: None,
            created_at: now,
            updated_at: now,
            deleted_at: None,
            forget_through: None,
        }
    }
}

fn corrupt(column: &'static str) -> impl Fn() -> StoreError {
    move || StoreError::Corrupt {
        table: "vehicles",
        column,
    }
}

fn in_range<T>(
    column: &'static str,
    value: Option<Result<T, OutOfRange>>,
) -> Result<Option<T>, StoreError> {
    value.transpose().map_err(|_| corrupt(column)())
}

fn interval(
    column: &'static str,
    seconds: Option<i16>,
) -> Result<Option<ReportInterval>, StoreError> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| ReportInterval::new(seconds).ok())
        .map(Some)
        .ok_or_else(corrupt(column))
}

impl TryFrom<Model> for Vehicle {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Self {
            device_id: DeviceId::parse(&row.device_id).map_err(|_| corrupt("device_id")())?,
            online: row.online,
            latitude: in_range("latitude", row.latitude.map(Degrees::from_f64))?,
            longitude: in_range("longitude", row.longitude.map(Degrees::from_f64))?,
            battery: row
                .battery
                .map(|percent| {
                    u64::try_from(percent)
                        .ok()
                        .and_then(|percent| Battery::new(percent).ok())
                })
                .map(|battery| battery.ok_or_else(corrupt("battery")))
                .transpose()?,
            running: row.running.map(Running::from),
            reported_at: row.reported_at.map(Timestamp::from_millis),
            last_heartbeat: row.last_heartbeat.map(Timestamp::from_millis),
            update_frequency: interval("update_frequency", row.update_frequency)?,
            acknowledged_update_frequency: interval(
                "acknowledged_update_frequency",
                row.acknowledged_update_frequency,
            )?,
            connected_at: row.connected_at.map(Timestamp::from_millis),
            disconnected_at: row.disconnected_at.map(Timestamp::from_millis),
            disconnect_reason: row
                .disconnect_reason
                .map(|reason| reason.parse::<DisconnectReason>())
                .transpose()
                .map_err(|_| corrupt("disconnect_reason")())?,
            remote_address: row
                .remote_addr
                .map(|address| address.parse())
                .transpose()
                .map_err(|_| corrupt("remote_addr")())?,
            instance_id: row.instance_id,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
        })
    }
}
