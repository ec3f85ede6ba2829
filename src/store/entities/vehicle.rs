//! A row of `vehicles`, and its conversion to a vehicle and back.

use sea_orm::entity::prelude::*;

use crate::{
    domain::{
        Battery, DeviceId, DisconnectReason, Latitude, Longitude, ReportInterval, Running,
        Timestamp, Vehicle,
    },
    state::VehicleRecord,
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "vehicles")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) device_id: String,
    pub(crate) online: bool,
    pub(crate) session_epoch: i64,
    /// The incarnation that holds the session; NULL once the session has ended.
    pub(crate) instance_id: Option<String>,
    pub(crate) connected_at: Option<i64>,
    pub(crate) disconnected_at: Option<i64>,
    pub(crate) disconnect_reason: Option<String>,
    /// When the grace is over, see `VehicleRecord`.
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
    /// The last stamp of the vehicle, which never goes back: see `VehicleRecord`.
    pub(crate) updated_at: i64,
    /// Set while the row is a tombstone: it keeps the epoch, and nothing else of the vehicle.
    pub(crate) deleted_at: Option<i64>,
    /// The history up to this time is to be purged, see `VehicleRecord`.
    pub(crate) forget_through: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The record that the row stands for. A column that holds what the gateway would never write is reported by its
    /// name and read as unknown, so that one such row does not hold up the writes of others.
    pub(crate) fn into_record(
        self,
        device_id: DeviceId,
        mut report_corrupt: impl FnMut(&'static str),
    ) -> VehicleRecord {
        let interval = |seconds: i16| ReportInterval::new(u64::try_from(seconds).ok()?).ok();
        let battery = |percent: i16| Battery::new(u64::try_from(percent).ok()?).ok();
        let report = &mut report_corrupt;
        VehicleRecord {
            vehicle: Vehicle {
                device_id,
                online: self.online,
                latitude: read(self.latitude, "latitude", report, |degrees| {
                    Latitude::from_f64(degrees).ok()
                }),
                longitude: read(self.longitude, "longitude", report, |degrees| {
                    Longitude::from_f64(degrees).ok()
                }),
                battery: read(self.battery, "battery", report, battery),
                running: self.running.map(Running::from),
                reported_at: self.reported_at.map(Timestamp::from_millis),
                last_heartbeat: self.last_heartbeat.map(Timestamp::from_millis),
                update_frequency: read(self.update_frequency, "update_frequency", report, interval),
                acknowledged_update_frequency: read(
                    self.acknowledged_update_frequency,
                    "acknowledged_update_frequency",
                    report,
                    interval,
                ),
                connected_at: self.connected_at.map(Timestamp::from_millis),
                disconnected_at: self.disconnected_at.map(Timestamp::from_millis),
                disconnect_reason: read(
                    self.disconnect_reason.as_deref(),
                    "disconnect_reason",
                    report,
                    |reason| reason.parse().ok(),
                ),
                remote_address: read(
                    self.remote_addr.as_deref(),
                    "remote_addr",
                    report,
                    |address| address.parse().ok(),
                ),
                instance_id: read(self.instance_id.as_deref(), "instance_id", report, |id| {
                    id.parse().ok()
                }),
                created_at: Timestamp::from_millis(self.created_at),
                updated_at: Timestamp::from_millis(self.updated_at),
            },
            session_epoch: self.session_epoch,
            offline_due: self.offline_due.map(Timestamp::from_millis),
            deleted_at: self.deleted_at.map(Timestamp::from_millis),
            forget_through: self.forget_through.map(Timestamp::from_millis),
        }
    }
}

fn read<V, T>(
    value: Option<V>,
    column: &'static str,
    report_corrupt: &mut impl FnMut(&'static str),
    parse: impl FnOnce(V) -> Option<T>,
) -> Option<T> {
    let parsed = parse(value?);
    if parsed.is_none() {
        report_corrupt(column);
    }
    parsed
}

impl TryFrom<Model> for Vehicle {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let device_id = parse_device_id(&row.device_id)?;
        let mut corrupt = None;
        let record = row.into_record(device_id, |column| corrupt = Some(column));
        match corrupt {
            None => Ok(record.vehicle),
            Some(column) => Err(StoreError::Corrupt {
                table: "vehicles",
                column,
            }),
        }
    }
}

/// The id in a column `device_id` of this table.
pub(crate) fn parse_device_id(id: &str) -> Result<DeviceId, StoreError> {
    DeviceId::parse(id).map_err(|_| StoreError::Corrupt {
        table: "vehicles",
        column: "device_id",
    })
}

/// The value of a column in the row of this record.
pub(crate) fn column_value(record: &VehicleRecord, column: Column) -> Value {
    use Column as C;
    let vehicle = &record.vehicle;
    let millis = |at: Option<Timestamp>| Value::from(at.map(Timestamp::as_millis));
    // An interval is at most 3600 seconds.
    let seconds = |interval: Option<ReportInterval>| {
        Value::from(interval.and_then(|interval| i16::try_from(interval.seconds()).ok()))
    };
    match column {
        C::DeviceId => vehicle.device_id.as_str().into(),
        C::Online => vehicle.online.into(),
        C::SessionEpoch => record.session_epoch.into(),
        C::InstanceId => vehicle.instance_id.map(|id| id.to_string()).into(),
        C::ConnectedAt => millis(vehicle.connected_at),
        C::DisconnectedAt => millis(vehicle.disconnected_at),
        C::DisconnectReason => {
            let reason = vehicle.disconnect_reason;
            reason.map(DisconnectReason::as_str).into()
        }
        C::OfflineDue => millis(record.offline_due),
        C::RemoteAddr => vehicle.remote_address.map(|addr| addr.to_string()).into(),
        C::Latitude => vehicle.latitude.map(Latitude::to_f64).into(),
        C::Longitude => vehicle.longitude.map(Longitude::to_f64).into(),
        C::Battery => vehicle.battery.map(|it| i16::from(it.percent())).into(),
        C::Running => vehicle.running.map(Running::is_running).into(),
        C::ReportedAt => millis(vehicle.reported_at),
        C::LastHeartbeat => millis(vehicle.last_heartbeat),
        C::UpdateFrequency => seconds(vehicle.update_frequency),
        C::AcknowledgedUpdateFrequency => seconds(vehicle.acknowledged_update_frequency),
        C::CreatedAt => vehicle.created_at.as_millis().into(),
        C::UpdatedAt => vehicle.updated_at.as_millis().into(),
        C::DeletedAt => millis(record.deleted_at),
        C::ForgetThrough => millis(record.forget_through),
    }
}
