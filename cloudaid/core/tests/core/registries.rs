//! What workers pull private images with.

use cloudaid_core::input::Input;
use cloudaid_core::registry::{REGISTRIES_LIMIT, RegistryRecord};
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::World;
use shared::registry::RegistryName;
use shared::time::WallTime;

fn name(text: &str) -> RegistryName {
    text.parse().expect("a name")
}

fn set(world: &mut World, registry: &str, sealed: &str) -> Result<(), Reject> {
    let record = RegistryRecord {
        registry: name(registry),
        username: "robot".to_owned(),
        sealed: sealed.to_owned(),
        changed_by: "ada".parse().expect("a name"),
        changed_at: WallTime(1),
    };
    change(world, registry, Some(record))
}

fn change(world: &mut World, registry: &str, record: Option<RegistryRecord>) -> Result<(), Reject> {
    world.ask(|request| Input::ChangeRegistry { request, name: name(registry), record }).0.map(|_done| ())
}

#[test]
fn the_master_knows_the_registry_of_an_image() {
    let mut world = World::default();
    let (task, _) = world.submit(1, 1);
    assert_eq!(world.cluster.registry_of(task), None);
    set(&mut world, "ghcr.io", "1").expect("set");
    assert_eq!(world.cluster.registry_of(task), None, "it comes from elsewhere");
    set(&mut world, "docker.io", "1").expect("set");
    set(&mut world, "docker.io", "2").expect("set anew");
    world.restart();
    assert_eq!(world.cluster.registry_of(task).map(|record| record.sealed.as_str()), Some("2"));
    change(&mut world, "docker.io", None).expect("forgotten");
    assert_eq!(change(&mut world, "docker.io", None), Err(Reject::NoRegistry(name("docker.io"))));
    assert_eq!(world.cluster.registries().map(|record| record.registry.as_str()).collect::<Vec<_>>(), ["ghcr.io"]);
}

#[test]
fn there_are_not_too_many() {
    let mut world = World::default();
    for number in 0..REGISTRIES_LIMIT {
        set(&mut world, &format!("r{number}.example"), "1").expect("set");
    }
    assert_eq!(set(&mut world, "one.more", "1"), Err(Reject::TooManyRegistries));
    set(&mut world, "r1.example", "2").expect("it is there already");
}
