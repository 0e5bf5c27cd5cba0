//! Where all facts are kept.

use super::Check;
use crate::config::{MongoAddress, MongoSettings, Secret, StoreSettings, parse, secret, table};

impl Check<'_> {
    pub(in crate::config) fn store(&mut self) -> Option<StoreSettings> {
        let is_remote = self.required(&table::STORE, "", |text| match text.trim() {
            "sqlite" => Ok(false),
            "mongodb" => Ok(true),
            other => Err(format!("`{}` is neither `sqlite` nor `mongodb`", parse::shown(other))),
        })?;
        let mongodb = if is_remote { Some(self.mongodb()?) } else { None };
        Some(StoreSettings { mongodb })
    }

    /// From the URI, or from its parts.
    pub(in crate::config) fn mongodb(&mut self) -> Option<MongoSettings> {
        let required = self.required(&table::MONGODB_REQUIRED, "", parse::switch)?;
        let database = self.required(&table::MONGODB_DATABASE, "", parse::database)?;
        let secret = |text: &str| Ok(Secret::new(text));
        let address = if let Some(uri) = self.optional(&table::MONGODB_URI, parse::mongodb_uri) {
            for (setting, name) in
                [(&table::MONGODB_USERNAME, "MONGODB_USERNAME"), (&table::MONGODB_PASSWORD, "MONGODB_PASSWORD")]
            {
                if self.optional(setting, secret).is_some() {
                    self.refuse(setting, format!("there is a MONGODB_URI too: write it into that, or remove {name}"));
                    return None;
                }
            }
            MongoAddress::Uri(uri)
        } else {
            let host = self.required(&table::MONGODB_HOST, "", parse::mongodb_host)?;
            let user = self.optional(&table::MONGODB_USERNAME, secret);
            let password = self.optional(&table::MONGODB_PASSWORD, secret::password);
            let user = match (user, password) {
                (Some(user), Some(password)) => Some((user, password)),
                (None, None) => None,
                (Some(_), None) => {
                    self.refuse(
                        &table::MONGODB_PASSWORD,
                        "there is a MONGODB_USERNAME without it; set both or none".into(),
                    );
                    return None;
                }
                (None, Some(_)) => {
                    self.refuse(
                        &table::MONGODB_USERNAME,
                        "there is a MONGODB_PASSWORD without it; set both or none".into(),
                    );
                    return None;
                }
            };
            MongoAddress::Parts { host, user }
        };
        Some(MongoSettings { address, database, required })
    }
}
