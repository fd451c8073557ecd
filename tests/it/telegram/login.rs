//! Signing in and out, and what a session file is worth.

use telecast::emulator::mtproto::{Fault, MtprotoDoor};
use telecast::emulator::{Emulator, EmulatorOptions, RpcError};
use telecast::secret::Secret;
use telecast::telegram::{Client, Datacenter, LoginStep, QrStep, Session, TelegramError};

use super::options;

const PHONE: &str = "+99 966 123 4567";
const PASSWORD: &str = "correct horse";

/// A server with one account that can sign in, and a session with a key that nobody is signed in with.
async fn lab() -> (Emulator, MtprotoDoor, Session) {
    let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
    let door = emulator.serve_mtproto("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let account = door.add_account("ann");
    door.set_phone(account, PHONE);
    let session = Session::in_memory();
    point_at(&session, &door);
    (emulator, door, session)
}

/// Every data center is the server, which knows a new key.
fn point_at(session: &Session, door: &MtprotoDoor) {
    let key = door.add_key(None);
    let dc = |id| Datacenter { id, addr: door.local_addr(), key: Some(key.clone()) };
    session.set_datacenters(&[1, 2, 3, 4, 5].map(dc)).unwrap();
}

fn phone() -> Secret<String> {
    Secret::new(PHONE.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_phone_and_code() {
    let (emulator, door, session) = lab().await;
    let client = Client::new(session, options());
    let sent = client.request_code(phone()).await.unwrap();
    assert!(sent.place.contains("Telegram"), "{}", sent.place);
    let error = client.sign_in(&sent, "nonsense").await.unwrap_err();
    assert!(error.to_string().contains("not the code"), "{error}");
    let LoginStep::SignedIn(account) = client.sign_in(&sent, &door.code(PHONE).unwrap()).await.unwrap()
    else {
        panic!("there is no password");
    };
    assert_eq!((&account.name[..], account.is_bot), ("ann", false));
    assert_eq!(client.account().await.unwrap(), account);
    client.log_out().await.unwrap();
    let error = client.account().await.unwrap_err();
    assert!(matches!(error, TelegramError::NotSignedIn), "{error}");
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_password_on_top() {
    let (emulator, door, session) = lab().await;
    let account = door.add_account("bob");
    door.set_phone(account, "+99 966 765 4321");
    door.set_password(account, PASSWORD, "a horse");
    let client = Client::new(session, options());
    let sent = client.request_code(Secret::new("999667654321".to_owned())).await.unwrap();
    let step = client.sign_in(&sent, &door.code("999667654321").unwrap()).await.unwrap();
    assert_eq!(step, LoginStep::Password { hint: Some("a horse".into()) });
    let error = client.check_password(Secret::new("wrong".to_owned())).await.unwrap_err();
    assert!(error.to_string().contains("not the two-step password"), "{error}");
    assert!(client.account().await.is_err());
    let account = client.check_password(Secret::new(PASSWORD.to_owned())).await.unwrap();
    assert_eq!(account.name, "bob");
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_qr_code_that_another_device_scans() {
    let (emulator, door, session) = lab().await;
    let carol = door.add_account("carol");
    let client = Client::new(session, options());
    let mut login = client.qr_login();
    let QrStep::Show(link) = login.next().await.unwrap() else { panic!("nobody has scanned yet") };
    let token = link.expose().strip_prefix("tg://login?token=").expect("a login link");
    let (next, scanned) = tokio::join!(login.next(), async { door.scan(&decoded(token), carol) });
    assert!(scanned);
    let QrStep::Scanned(LoginStep::SignedIn(account)) = next.unwrap() else { panic!("it was scanned") };
    assert_eq!(account.name, "carol");
    assert!(!format!("{link:?}").contains(token), "a token is as good as a password");
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_qr_code_of_an_account_that_is_at_home_elsewhere() {
    for with_password in [false, true] {
        let (emulator, door, session) = lab().await;
        let carol = door.add_account("carol");
        if with_password {
            door.set_password(carol, PASSWORD, "a horse");
        }
        door.migrate_qr(4);
        let client = Client::new(session, options());
        let mut login = client.qr_login();
        let QrStep::Show(_) = login.next().await.unwrap() else { panic!("nobody has scanned yet") };
        assert!(door.scan(&door.qr_token().unwrap(), carol));
        let QrStep::Scanned(step) = login.next().await.unwrap() else { panic!("it was scanned") };
        let account = match step {
            LoginStep::SignedIn(account) => account,
            _ => client.check_password(Secret::new(PASSWORD.to_owned())).await.unwrap(),
        };
        assert_eq!((&account.name[..], door.n_calls("auth.importLoginToken")), ("carol", 1));
        let n_before = door.n_accepted();
        assert_eq!(client.account().await.unwrap(), account);
        client.chats().await.unwrap();
        assert!(door.n_accepted() <= n_before + 1, "at home there from now on");
        client.shutdown().await;
        emulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_code_is_drawn_anew_before_it_expires() {
    let (emulator, door, session) = lab().await;
    let carol = door.add_account("carol");
    door.set_qr_life(2);
    let client = Client::new(session, options());
    let mut login = client.qr_login();
    let QrStep::Show(first) = login.next().await.unwrap() else { panic!("nobody has scanned yet") };
    let expired = door.qr_token().unwrap();
    let QrStep::Show(second) = login.next().await.unwrap() else { panic!("nobody has scanned yet") };
    assert_ne!(first.expose(), second.expose());
    assert!(!door.scan(&expired, carol), "the old one is good no more");
    assert!(door.scan(&door.qr_token().unwrap(), carol));
    assert!(matches!(login.next().await.unwrap(), QrStep::Scanned(LoginStep::SignedIn(_))));
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_code_that_comes_by_mail() {
    let (emulator, door, session) = lab().await;
    let account = door.add_account("dora");
    door.set_phone(account, "+99 966 111 1111");
    door.send_codes_by_mail(account);
    let client = Client::new(session, options());
    let sent = client.request_code(Secret::new("+999661111111".to_owned())).await.unwrap();
    assert!(sent.place.contains("a***@example.org"), "{}", sent.place);
    let step = client.sign_in(&sent, &door.code("999661111111").unwrap()).await.unwrap();
    assert!(matches!(step, LoginStep::SignedIn(_)), "{step:?}");
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_answer_is_lost_is_a_login() {
    let (emulator, door, session) = lab().await;
    let client = Client::new(session, options());
    let sent = client.request_code(phone()).await.unwrap();
    door.plan("auth.signIn", Fault::CloseAfter, 1);
    let step = client.sign_in(&sent, &door.code(PHONE).unwrap()).await.unwrap();
    assert!(matches!(step, LoginStep::SignedIn(_)), "{step:?}");
    assert_eq!(door.n_calls("auth.signIn"), 2, "it was sent again, and refused");
    client.shutdown().await;

    let bob = door.add_account("bob");
    door.set_phone(bob, "+99 966 765 4321");
    door.set_password(bob, PASSWORD, "a horse");
    let session = Session::in_memory();
    point_at(&session, &door);
    let client = Client::new(session, options());
    let sent = client.request_code(Secret::new("999667654321".to_owned())).await.unwrap();
    let step = client.sign_in(&sent, &door.code("999667654321").unwrap()).await.unwrap();
    assert!(matches!(step, LoginStep::Password { .. }), "{step:?}");
    door.plan("auth.checkPassword", Fault::CloseAfter, 1);
    let account = client.check_password(Secret::new(PASSWORD.to_owned())).await.unwrap();
    assert_eq!(account.name, "bob");
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_account_is_at_home() {
    let (emulator, door, session) = lab().await;
    door.plan("auth.sendCode", Fault::Refuse(RpcError::new(303, "PHONE_MIGRATE_4")), 1);
    let client = Client::new(session, options());
    client.request_code(phone()).await.unwrap();
    assert_eq!((door.n_calls("auth.sendCode"), door.n_connections()), (2, 2));
    let nobody = Secret::new("1".to_owned());
    let error = client.request_code(nobody).await.unwrap_err();
    assert!(error.to_string().contains("country code"), "{error}");
    client.shutdown().await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_file_is_enough_to_come_back() {
    let (emulator, door, _) = lab().await;
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("main.json");
    let session = Session::open(&path).unwrap();
    point_at(&session, &door);
    let client = Client::new(session, options());
    let sent = client.request_code(phone()).await.unwrap();
    client.sign_in(&sent, &door.code(PHONE).unwrap()).await.unwrap();
    client.shutdown().await;
    drop(client);

    let client = Client::connect(Session::open(&path).unwrap(), options()).await.unwrap();
    assert_eq!(client.account().await.unwrap().name, "ann");
    client.log_out().await.unwrap();
    assert!(!path.exists(), "nothing is left of it");
    client.shutdown().await;
    emulator.shutdown().await;
}

/// base64url, the other way round.
fn decoded(text: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let bits: Vec<u8> =
        text.bytes().flat_map(|digit| (0..6).rev().map(move |bit| value(digit) >> bit & 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}
