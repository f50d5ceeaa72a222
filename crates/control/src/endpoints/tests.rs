use super::*;

#[test]
fn one_name_of_a_tenant_is_started_or_stopped_by_one_at_a_time() {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let endpoints = Endpoints::default();
    let turn = endpoints.turn(&name("acme"), &name("a")).unwrap();
    assert_eq!(endpoints.turn(&name("acme"), &name("a")).err().map(|f| f.status), Some(409));
    // Other names, and the same name of another tenant, do not wait.
    let others = (endpoints.turn(&name("acme"), &name("b")), endpoints.turn(&name("globex"), &name("a")));
    assert!(others.0.is_ok() && others.1.is_ok());
    // Those of a tenant count once each, whether they serve, change or both.
    let serving = BTreeSet::from([name("a"), name("c")]);
    assert_eq!(endpoints.taken_of(&name("acme"), serving), 3);
    assert_eq!(endpoints.taken_of(&name("globex"), BTreeSet::new()), 1);
    drop(turn);
    assert!(endpoints.turn(&name("acme"), &name("a")).is_ok());
}
