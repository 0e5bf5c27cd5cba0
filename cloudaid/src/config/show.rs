//! `cloudaid config show`: each value and where it came from.

use std::fmt::Write;

use serde::Serialize;

use super::problem::Problem;
use super::settings::Settings;
use super::table::{self, Role, Setting};

/// What stands for a secret.
const MASK: &str = "********";
/// What stands for nothing.
const NOTHING: &str = "-";

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name, which is its path in the file.
    pub setting: &'static str,
    /// As text; masked if secret.
    pub value: Option<String>,
    /// Where it came from.
    pub from: String,
    /// The variable that sets it.
    pub env: &'static str,
    /// The flag that sets it.
    pub flag: Option<String>,
    /// What it is for.
    pub about: &'static str,
}

/// The settings of a role, or of all.
#[must_use]
pub fn list(settings: &Settings, role: Option<Role>) -> Vec<Shown> {
    let rows = table::ALL.iter().filter(|row| role.is_none_or(|role| row.is_for(role)));
    rows.map(|row| shown(settings, row, role.unwrap_or_else(|| row.first_role()))).collect()
}

fn shown(settings: &Settings, row: &'static Setting, role: Role) -> Shown {
    let value = settings.layers().value(row, role);
    let from = value.as_ref().map_or_else(|| "default".to_owned(), |value| value.origin.to_string());
    let value = value.map(|value| if row.is_secret() { MASK.to_owned() } else { value.text });
    let flag = row.flag.map(|flag| format!("--{flag}"));
    Shown { setting: row.name, value, from, env: row.env, flag, about: row.doc }
}

/// What would keep a role from starting. Without a role, what nobody has given is no problem: it may be another's.
#[must_use]
pub fn problems(settings: &Settings, role: Option<Role>) -> Vec<Problem> {
    let of = |role| match role {
        Role::Master => settings.master().err(),
        Role::Worker => settings.worker().err(),
        Role::Dev => settings.dev().err(),
    };
    match role {
        Some(role) => of(role).map(|error| error.problems).unwrap_or_default(),
        None => {
            let both = [Role::Master, Role::Worker].into_iter().filter_map(of).flat_map(|error| error.problems);
            let mut problems: Vec<Problem> = Vec::new();
            for problem in both.filter(|problem| !problem.missing) {
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            problems
        }
    }
}

/// As aligned columns.
#[must_use]
pub fn as_table(rows: &[Shown]) -> String {
    let value = |row: &Shown| row.value.as_deref().map_or_else(|| NOTHING.to_owned(), shared::text::printable);
    let width = |of: &dyn Fn(&Shown) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let names = width(&|row| row.setting.len()).max("SETTING".len());
    let values = width(&|row| value(row).chars().count()).max("VALUE".len());
    let mut text = format!("{:names$}  {:values$}  FROM\n", "SETTING", "VALUE");
    for row in rows {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:names$}  {:values$}  {}", row.setting, value(row), row.from);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::file::FileLayer;
    use super::super::layers::Layers;
    use super::super::machine::Machine;
    use super::*;

    fn settings() -> Settings {
        let machine = Machine { data_home: Some("/share".into()), host: "node-7".to_owned(), ..Machine::default() };
        let file = FileLayer::parse("[leases]\nheartbeat = \"1s\"\n[worker]\nlabels = { a = \"b\" }");
        let env = [("JWT_SECRET", "0123456789abcdef0123456789abcdef"), ("CLOUDAI_HTTP", "127.0.0.1:9")];
        Settings::new(Layers {
            flags: [("data-dir", "/d".to_owned())].into(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            file: Some(("/etc/c.toml".into(), file)),
            machine,
            ..Layers::default()
        })
    }

    #[test]
    fn the_table_of_a_master_in_full() {
        let expected = "\
SETTING                         VALUE            FROM
log.format                      text             default
log.level                       info             default
log.access                      true             default
master.data_dir                 /d               flag --data-dir
master.http                     127.0.0.1:9      env CLOUDAI_HTTP
master.grpc                     127.0.0.1:50051  default
master.plaintext                false            default
tls.certificate                 -                default
tls.key                         -                default
master.hosts                    -                default
master.origins                  -                default
master.tls_proxy                false            default
master.print_task_logs          false            default
workers.certificate_ttl         24h              default
workers.allow_plaintext         false            default
workers.admission               approve          default
leases.heartbeat                1s               file /etc/c.toml
leases.suspect                  15s              default
leases.lease                    30s              default
leases.reassign                 45s              default
leases.start_grace              60s              default
leases.mass_loss_hold           10m              default
limits.infrastructure_attempts  3                default
tasks.profile                   standard         default
tasks.strict_users              -                default
tasks.strict_pools              -                default
tasks.strict_network            none             default
images.allowed                  -                default
images.require_digest           false            default
limits.user_bytes               100GiB           default
limits.user_files               1000000          default
store                           sqlite           default
mongodb.uri                     -                default
mongodb.host                    localhost:27017  default
mongodb.username                -                default
mongodb.password                -                default
mongodb.database                cloudai          default
mongodb.required                false            default
files.store                     local            default
files.s3_bucket                 -                default
files.s3_prefix                 -                default
files.s3_endpoint               -                default
files.s3_region                 us-east-1        default
files.s3_access_key_id          -                default
files.s3_secret_access_key      -                default
files.s3_session_token          -                default
files.retention                 never            default
files.input_retention           7d               default
task_logs.keep                  1GiB             default
task_logs.total                 all              default
task_logs.retention             never            default
task_logs.failed_retention      -                default
auth.jwt_secret                 ********         env JWT_SECRET
auth.previous_jwt_secret        -                default
auth.token_ttl                  15m              default
auth.registration               invite           default
auth.min_password_length        12               default
";
        assert_eq!(as_table(&list(&settings(), Some(Role::Master))), expected);
    }

    #[test]
    fn the_list_of_all_has_every_row_and_no_secret() {
        let rows = list(&settings(), None);
        assert_eq!(rows.len(), table::ALL.len());
        let json = serde_json::to_string(&rows).expect("json");
        assert!(!json.contains("0123456789abcdef"), "{json}");
        assert!(
            json.contains(r#""setting":"worker.name","value":"node-7","from":"default","env":"CLOUDAI_NAME""#),
            "{json}"
        );
        let labels = rows.iter().find(|row| row.setting == "worker.labels").expect("labels");
        assert_eq!(labels.value.as_deref(), Some("a=b"));
    }

    #[test]
    fn what_nobody_has_given_is_a_problem_of_its_role_alone() {
        assert_eq!(problems(&settings(), None), []);
        let homeless = Settings::new(Layers { machine: Machine::default(), ..settings().layers().clone() });
        assert_eq!(problems(&homeless, None), []);
        assert_eq!(problems(&homeless, Some(Role::Worker)).len(), 1, "its name");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut row = list(&settings(), Some(Role::Master)).remove(0);
        row.value = Some("a\u{1b}[31m\nb".to_owned());
        assert!(as_table(&[row]).contains("a\\u{1b}[31m\\nb  default"));
    }
}
