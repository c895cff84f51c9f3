//! What etcd asks for before it lets somebody in.

use super::super::{World, own};
use super::server::{Server, certificates, is_there, skip};
use super::{Registered, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_a_password_open_etcd_and_without_them_it_says_why() {
    let Some(mut world) = Registered::if_there("a_user_and_a_password_open_etcd") else {
        return;
    };
    let mut etcd = client(&world.config).await;
    etcd.user_add("root", "sesame", None).await.unwrap();
    etcd.user_grant_role("root", "root").await.unwrap();
    etcd.auth_enable().await.unwrap();
    let mut refused = world.start(own("r", 1)).await;
    refused
        .until("that it is refused", |heard, _| {
            heard
                .standing
                .error
                .as_deref()
                .is_some_and(|why| why.contains("hint:"))
        })
        .await;
    let password = world.dir.path().join("password");
    std::fs::write(&password, "sesame\n").unwrap();
    world.config.login = Some(("root".to_owned(), password));
    let mut a = world.start(own("a", 1)).await;
    let _b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_open_etcd_and_without_them_it_is_not_heard() {
    let test = "certificates_open_etcd_and_without_them_it_is_not_heard";
    if !is_there(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path(), 36_500) {
        return skip(
            test,
            "openssl makes no certificates; hint: install openssl 3",
        );
    }
    let [ca, cert, key] = ["ca.pem", "one.pem", "one.key"].map(|file| dir.path().join(file));
    let mut world = Registered::of(|data| Server::new(data).with_tls(&ca, &cert, &key));
    // Neither whom it does not trust, nor without a certificate of its own.
    for ca in [None, Some(&ca)] {
        world.config.ca = ca.cloned();
        let mut outside = world.start(own("outside", 1)).await;
        outside
            .until("that it is not heard", |heard, _| {
                !heard.standing.reachable && heard.standing.error.is_some()
            })
            .await;
    }
    world.config.identity = Some((cert, key));
    let mut a = world.start(own("a", 1)).await;
    let _b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
}
