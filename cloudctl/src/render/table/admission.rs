//! Which workers may join.

use comfy_table::Cell;
use shared::time::WallTime;
use shared::view::{
    AuthorityView, NewWorkerTokenView, PendingWorkerListView, RegistryListView, RegistryView, WorkerTokenListView,
    WorkerTokenView, WorkerView,
};
use shared::worker::WorkerProtocol;

use super::grid::{Grid, optional, text};
use crate::render::text::resources;
use crate::render::{Style, UnregisteredView};

/// `worker-token create`: the token stands once on the screen, in the line that needs it.
pub(super) fn new_token(view: &NewWorkerTokenView, style: &Style) -> String {
    let NewWorkerTokenView { token, master, view: WorkerTokenView { name, pool, uses_left, expires_at, .. } } = view;
    let whom = match (name, uses_left) {
        (Some(name), _) => format!("the worker {name}"),
        (None, 1) => "one worker".to_owned(),
        (None, uses) => format!("{uses} workers"),
    };
    let whither = pool.as_ref().map_or_else(|| "in".to_owned(), |pool| format!("into the pool {}", style.text(pool)));
    let name = name.as_ref().map_or_else(String::new, |name| format!(" --name {name}"));
    format!(
        "This lets {whom} {whither}, until {}. It is shown only now; run on the new machine:\n\
         cloudaid worker --master {}{name} --join {}\n",
        style.time(*expires_at),
        style.text(master),
        style.text(token)
    )
}

/// `registry`
pub(super) fn registries(view: &RegistryListView, style: &Style) -> String {
    if view.registries.is_empty() {
        return "No registry knows the cluster. `cloudctl registry login` changes that.\n".to_owned();
    }
    let mut grid = Grid::new(style, ["REGISTRY", "USERNAME", "SET BY", "SET AT"], &[0, 1]);
    for RegistryView { registry, username, changed_by, changed_at } in &view.registries {
        grid.row([
            text(registry.as_str(), style),
            text(username, style),
            text(changed_by.as_str(), style),
            Cell::new(style.time(*changed_at)),
        ]);
    }
    grid.finish()
}

/// `worker-token`
pub(super) fn tokens(view: &WorkerTokenListView, style: &Style) -> String {
    if view.worker_tokens.is_empty() {
        return "No join tokens. `cloudctl worker-token create` makes one.\n".to_owned();
    }
    let mut grid = Grid::new(style, ["ID", "WORKER", "POOL", "LEFT", "MADE BY", "UNTIL"], &[1, 2]).align_right(&[3]);
    for token in &view.worker_tokens {
        grid.row([
            Cell::new(token.token_id),
            optional(token.name.as_ref().map(|name| name.as_str()), style),
            optional(token.pool.as_ref(), style),
            Cell::new(token.uses_left),
            text(token.created_by.as_str(), style),
            Cell::new(style.time(token.expires_at)),
        ]);
    }
    grid.finish()
}

/// `workers --pending`
pub(super) fn pending(view: &PendingWorkerListView, style: &Style, now: WallTime) -> String {
    if view.pending.is_empty() {
        return "No worker waits to be let in.\n".to_owned();
    }
    let mut grid = Grid::new(style, ["WORKER", "IP", "RESOURCES", "SINCE"], &[2]);
    for worker in &view.pending {
        grid.row([
            text(worker.worker_id.as_str(), style),
            text(&worker.address, style),
            Cell::new(resources(&worker.capacity, style)),
            Cell::new(style.ago(now, worker.since)),
        ]);
    }
    format!("{}\nNothing proves who they are. `cloudctl approve WORKER` lets one in.\n", grid.finish())
}

/// `register`, of a worker; `approve`
pub(super) fn admitted(view: &WorkerView, style: &Style) -> String {
    let WorkerView { worker_id, address, protocol, .. } = view;
    let link = match protocol {
        WorkerProtocol::Seed => format!(": the master dials it at {}, in plaintext", style.text(address)),
        WorkerProtocol::Session => String::new(),
    };
    format!("✓ Worker {worker_id} is registered{link}\n")
}

/// `unregister`
pub(super) fn unregistered(view: &UnregisteredView, style: &Style) -> String {
    let line = |worker: &str| format!("✓ Worker {} is unregistered\n", style.text(worker));
    view.unregistered.iter().map(|worker| line(worker.as_str())).collect()
}

/// `admin rotate-ca`
pub(super) fn authority(view: &AuthorityView, style: &Style) -> String {
    let AuthorityView { fingerprint, expires_at, retired } = view;
    let retired = retired.as_ref().map_or_else(String::new, |retired| {
        format!("What {} has signed stays good until it ends.\n", style.text(retired))
    });
    let fingerprint = style.text(fingerprint);
    format!(
        "✓ Certificates are signed by another authority now, until {}:\n{fingerprint}\n{retired}\
         Who trusts the master by the fingerprint of its authority needs this one:\n\
         cloudctl login --fingerprint {fingerprint}\n",
        style.time(*expires_at)
    )
}

#[cfg(test)]
mod tests {
    use shared::resources::{GIB, Resources};
    use shared::view::PendingWorkerView;

    use super::*;
    use crate::render::table::sample;

    fn token(name: Option<&str>, pool: Option<&str>, uses_left: u32) -> WorkerTokenView {
        WorkerTokenView {
            token_id: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
            name: name.map(|name| name.parse().expect("a name")),
            pool: pool.map(str::to_owned),
            uses_left,
            created_by: "ann".parse().expect("a name"),
            created_at: WallTime(0),
            expires_at: WallTime(900_000),
        }
    }

    #[test]
    fn a_new_token_stands_once_in_the_line_to_run() {
        for (view, whom, line) in [
            (token(None, None, 1), "one worker in", "cloudaid worker --master h:50051 --join secret\n"),
            (token(None, Some("gpu"), 20), "20 workers into the pool gpu", "--master h:50051 --join secret\n"),
            (token(Some("w1"), None, 1), "the worker w1 in", "--master h:50051 --name w1 --join secret\n"),
        ] {
            let view = NewWorkerTokenView { token: "secret".into(), master: "h:50051".into(), view };
            let text = new_token(&view, &Style::default());
            assert!(text.contains(&format!("lets {whom}, until 1970-01-01 00:15:00.")), "{text}");
            assert!(text.ends_with(line) && text.matches("secret").count() == 1, "{text}");
        }
    }

    #[test]
    fn tokens_are_lines_without_their_secret() {
        let worker_tokens = vec![token(Some("w1"), None, 1), token(None, Some("gpu"), 20)];
        let expected = [
            "ID                          WORKER  POOL  LEFT  MADE BY  UNTIL\n",
            "01arz3ndektsv4rrffq69g5fav  w1      -        1  ann      1970-01-01 00:15:00\n",
            "01arz3ndektsv4rrffq69g5fav  -       gpu     20  ann      1970-01-01 00:15:00\n",
        ];
        assert_eq!(tokens(&WorkerTokenListView { worker_tokens }, &Style::default()), expected.concat());
        let none = tokens(&WorkerTokenListView { worker_tokens: vec![] }, &Style::default());
        assert!(none.contains("worker-token create"), "{none}");
    }

    #[test]
    fn who_waits_is_shown_with_what_to_do() {
        let capacity = Resources { cpu_millis: 4000, memory_bytes: 8 * GIB, storage_bytes: 0, gpu_millis: 0 };
        let since = WallTime(sample::NOW.0 - 60_000);
        let worker_id = "w1".parse().expect("a name");
        let worker = PendingWorkerView { worker_id, address: "evil\x1b[2J".into(), capacity, since };
        let expected = "\
WORKER  IP             RESOURCES                       SINCE
w1      evil\\u{1b}[2J  CPU=4.0, Memory=8.0GB, GPU=0.0  1m ago

Nothing proves who they are. `cloudctl approve WORKER` lets one in.
";
        let list = |pending| super::pending(&PendingWorkerListView { pending }, &Style::default(), sample::NOW);
        assert_eq!(list(vec![worker]), expected);
        assert_eq!(list(vec![]), "No worker waits to be let in.\n");
    }

    #[test]
    fn a_worker_that_is_dialled_is_said_to_be() {
        let mut view = sample::workers().workers.remove(0);
        assert_eq!(admitted(&view, &Style::default()), "✓ Worker worker-1 is registered\n");
        (view.protocol, view.address) = (WorkerProtocol::Seed, "10.0.0.1:50052".into());
        let expected = "✓ Worker worker-1 is registered: the master dials it at 10.0.0.1:50052, in plaintext\n";
        assert_eq!(admitted(&view, &Style::default()), expected);
    }

    #[test]
    fn another_authority_is_told_with_what_it_means() {
        let view = AuthorityView { fingerprint: "sha256:new".into(), expires_at: WallTime(0), retired: None };
        let text = authority(&view, &Style::default());
        assert!(text.contains("login --fingerprint sha256:new\n") && !text.contains("stays good"), "{text}");
        let text = authority(&AuthorityView { retired: Some("sha256:old".into()), ..view }, &Style::default());
        assert!(text.contains("What sha256:old has signed stays good"), "{text}");
    }
}
