use super::*;

const NOW: Duration = Duration::from_secs(1_700_000_000);
const SALT: i64 = 99;
const MSG: i64 = 1_700_000_000 << 32;

/// The client's end, as far as a test needs it.
fn packet(key: &AuthKey, salt: i64, msg_id: i64, body: &[u8]) -> Vec<u8> {
    let mut plain = salt.to_bytes();
    5_i64.serialize(&mut plain);
    write(&mut plain, msg_id, body);
    key.seal_as_client(&plain)
}

fn write(into: &mut Vec<u8>, msg_id: i64, body: &[u8]) {
    msg_id.serialize(into);
    1_i32.serialize(into);
    i32::try_from(body.len()).expect("small").serialize(into);
    into.extend_from_slice(body);
}

/// What the client finds in a packet of the server: id, sequence number and body.
fn opened(key: &AuthKey, packet: &[u8]) -> Vec<(i64, i32, Vec<u8>)> {
    let plain = key.open_as_client(packet).expect("encrypted for the client");
    let mut cursor = Cursor::from_slice(&plain);
    assert_eq!(i64::deserialize(&mut cursor), Ok(SALT));
    assert_eq!(i64::deserialize(&mut cursor), Ok(5), "the client's session id comes back");
    let outer = message(&mut cursor).expect("a message");
    let mut cursor = Cursor::from_slice(&outer.2);
    if u32::deserialize(&mut cursor) != Ok(MSG_CONTAINER) {
        return vec![outer];
    }
    let n = i32::deserialize(&mut cursor).expect("a number");
    let inner: Vec<_> = (0..n).map(|_| message(&mut cursor).expect("a message")).collect();
    assert!(inner.iter().all(|(id, ..)| *id < outer.0), "the container is the latest");
    inner
}

fn ping(ping_id: i64) -> Vec<u8> {
    tl::functions::Ping { ping_id }.to_bytes()
}

#[test]
fn a_wrong_salt_is_told_and_nothing_is_done() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    let request = tl::functions::help::GetConfig {}.to_bytes();
    assert_eq!(session.receive(&packet(&key, 0, MSG, &request), NOW), Ok(vec![]));
    let answers = opened(&key, &session.poll_packet(NOW).expect("a complaint"));
    let complaint = tl::enums::BadMsgNotification::from_bytes(&answers[0].2).expect("a notification");
    let tl::enums::BadMsgNotification::BadServerSalt(bad) = complaint else {
        panic!("{complaint:?}");
    };
    assert_eq!((bad.bad_msg_id, bad.new_server_salt, bad.error_code), (MSG, SALT, 48));
    assert_eq!(session.receive(&packet(&key, SALT, MSG, &request), NOW).expect("well formed").len(), 1);
}

#[test]
fn containers_and_compression_are_unpacked() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    let config = tl::functions::help::GetConfig {}.to_bytes();
    let mut packed = GZIP_PACKED.to_bytes();
    compress(&config).serialize(&mut packed);
    let mut container = MSG_CONTAINER.to_bytes();
    3_i32.serialize(&mut container);
    write(&mut container, MSG, &ping(1));
    write(&mut container, MSG + 4, &packed);
    write(&mut container, MSG + 8, &config);
    let requests = session.receive(&packet(&key, SALT, MSG + 12, &container), NOW).expect("well formed");
    assert_eq!(requests.iter().map(|request| request.msg_id).collect::<Vec<_>>(), [MSG + 4, MSG + 8]);
    assert!(requests.iter().all(|request| request.body == config));

    session.answer(MSG + 4, &[1; 8]);
    session.push(vec![2; 8]);
    let sent = opened(&key, &session.poll_packet(NOW).expect("four messages"));
    let modulo: Vec<i64> = sent.iter().map(|(id, ..)| id % 4).collect();
    let seq: Vec<i32> = sent.iter().map(|(_, seq, _)| *seq).collect();
    let expected = (vec![3, 1, 1, 3], vec![1, 2, 3, 5]);
    assert_eq!((modulo, seq), expected, "new session, pong, answer, update");
    assert!(sent.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(session.poll_packet(NOW), None);
}

#[test]
fn a_container_with_a_wrong_salt_is_refused_by_its_own_id() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    let mut container = MSG_CONTAINER.to_bytes();
    1_i32.serialize(&mut container);
    write(&mut container, MSG, &ping(1));
    assert_eq!(session.receive(&packet(&key, 0, MSG + 4, &container), NOW), Ok(vec![]));
    let sent = opened(&key, &session.poll_packet(NOW).expect("a complaint"));
    let complaint = tl::enums::BadMsgNotification::from_bytes(&sent[0].2).expect("a notification");
    assert_eq!((sent.len(), complaint.bad_msg_id()), (1, MSG + 4), "nothing in it is answered");
}

#[test]
fn a_session_is_told_once_that_it_is_new() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    session.receive(&packet(&key, 0, MSG, &ping(1)), NOW).expect("well formed");
    assert_eq!(opened(&key, &session.poll_packet(NOW).expect("a complaint")).len(), 1);
    for (nth, n_sent) in [(1, 2), (2, 1)] {
        let msg_id = MSG + nth * 4;
        session.receive(&packet(&key, SALT, msg_id, &ping(nth)), NOW).expect("well formed");
        let sent = opened(&key, &session.poll_packet(NOW).expect("a pong"));
        assert_eq!(sent.len(), n_sent);
        if nth == 1 {
            let tl::enums::NewSession::Created(new) =
                tl::enums::NewSession::from_bytes(&sent[0].2).expect("a new session");
            assert_eq!((new.first_msg_id, new.server_salt), (msg_id, SALT));
        }
    }
}

#[test]
fn a_long_answer_is_compressed() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    session.receive(&packet(&key, SALT, MSG, &ping(1)), NOW).expect("well formed");
    session.poll_packet(NOW).expect("the pong");
    session.answer(MSG, &[7; 100_000]);
    let sent = session.poll_packet(NOW).expect("the answer");
    assert!(sent.len() < 2000, "{}", sent.len());
    let body = &opened(&key, &sent)[0].2;
    assert_eq!(body[..4], RPC_RESULT.to_le_bytes());
    assert_eq!(body[12..16], GZIP_PACKED.to_le_bytes());
    let mut cursor = Cursor::from_slice(&body[16..]);
    assert_eq!(expand(&Vec::<u8>::deserialize(&mut cursor).expect("bytes")), Ok(vec![7; 100_000]));
}

#[test]
fn a_wrong_clock_is_told() {
    let key = AuthKey::random();
    for (shift, code) in [(-301, 16), (31, 17)] {
        let mut session = Session::new(key.clone(), SALT);
        let msg_id = MSG + (shift << 32);
        assert_eq!(session.receive(&packet(&key, SALT, msg_id, &ping(1)), NOW), Ok(vec![]));
        let sent = opened(&key, &session.poll_packet(NOW).expect("a complaint"));
        let complaint = tl::enums::BadMsgNotification::from_bytes(&sent[0].2).expect("a notification");
        assert_eq!(complaint.error_code(), code);
    }
}

#[test]
fn salts_come_bare_and_more_than_one() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    let wanted = tl::functions::GetFutureSalts { num: 1 }.to_bytes();
    session.receive(&packet(&key, SALT, MSG, &wanted), NOW).expect("well formed");
    let sent = opened(&key, &session.poll_packet(NOW).expect("salts"));
    let tl::enums::FutureSalts::Salts(salts) =
        tl::enums::FutureSalts::from_bytes(&sent[1].2).expect("bare salts");
    assert_eq!((salts.req_msg_id, salts.salts.0.len(), salts.salts.0[0].salt), (MSG, 2, SALT));
}

#[test]
fn what_is_no_message_ends_the_session_and_panics_nowhere() {
    let key = AuthKey::random();
    let bodies: [&[u8]; 5] = [
        &[],
        &MSG_CONTAINER.to_le_bytes(),
        &[&MSG_CONTAINER.to_le_bytes()[..], &[0xff; 4]].concat(),
        &[&GZIP_PACKED.to_le_bytes()[..], &[4, 1, 2, 3, 4, 0, 0, 0]].concat(),
        &[&MSG_CONTAINER.to_le_bytes()[..], &[1, 0, 0, 0], &[0; 12], &[0xff; 4]].concat(),
    ];
    for body in bodies {
        let mut session = Session::new(key.clone(), SALT);
        assert!(session.receive(&packet(&key, SALT, MSG, body), NOW).is_err(), "{body:?}");
    }
    let mut session = Session::new(key.clone(), SALT);
    session.receive(&packet(&key, SALT, MSG, &ping(1)), NOW).expect("well formed");
    let mut other = SALT.to_bytes();
    6_i64.serialize(&mut other);
    write(&mut other, MSG, &ping(1));
    assert_eq!(session.receive(&key.seal_as_client(&other), NOW), Err(WireError::Session));
}

#[test]
fn a_request_that_comes_twice_is_executed_once() {
    let key = AuthKey::random();
    let mut session = Session::new(key.clone(), SALT);
    let request = packet(&key, SALT, MSG, &tl::functions::help::GetConfig {}.to_bytes());
    let n_requests = |session: &mut Session| session.receive(&request, NOW).expect("well formed").len();
    assert_eq!((n_requests(&mut session), n_requests(&mut session)), (1, 0), "it still runs");
    session.answer(MSG, &[1; 8]);
    let first = opened(&key, &session.poll_packet(NOW).expect("an answer"));
    assert_eq!(n_requests(&mut session), 0);
    let second = opened(&key, &session.poll_packet(NOW).expect("the answer once more"));
    assert_eq!(first.last().expect("an answer").2, second.last().expect("an answer").2);
}
