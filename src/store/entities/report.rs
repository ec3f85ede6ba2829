//! A row of `reports`.

use sea_orm::entity::prelude::*;

use crate::{
    domain::{Battery, Degrees, Report, Running, Timestamp, VehicleState},
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "reports")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) device_id: String,
    pub(crate) received_at: i64,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) battery: i16,
    pub(crate) running: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Report {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "reports",
            column,
        };
        Ok(Self {
            id: row.id,
            received_at: Timestamp::from_millis(row.received_at),
            state: VehicleState {
                latitude: Degrees::from_f64(row.latitude).map_err(|_| corrupt("latitude"))?,
                longitude: Degrees::from_f64(row.longitude).map_err(|_| corrupt("longitude"))?,
                battery: u64::try_from(row.battery)
                    .ok()
                    .and_then(|percent| Battery::new(percent).ok())
                    .ok_or_else(|| corrupt("battery"))?,
                running: Running::from(row.running),
            },
        })
    }
}
