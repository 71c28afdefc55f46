//! Servers that are no Kafka brokers, or old ones: what they send must end in a clear error, soon and in little memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use headrace::wire::{Connection, WireError};

use super::{run, settings};
use crate::support::DEADLINE;

/// A client gives up a server that says nothing after this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves one connection, and opens it with the native client.
fn meet(serve: impl FnOnce(TcpStream) + Send + 'static) -> Result<(), WireError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        serve(stream);
    });
    let mut settings = settings(&address, &[]);
    settings.connect_timeout = CONNECT_TIMEOUT;
    let (done, result) = std::sync::mpsc::channel();
    run(async move {
        done.send(Connection::open(&settings.bootstrap_servers[0], &settings).await.map(drop)).unwrap();
    });
    server.join().unwrap();
    result.recv().unwrap()
}

/// One request, without its length.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).unwrap();
    request
}

fn answer(stream: &mut TcpStream, request: &[u8], body: &[u8]) {
    // Correlation ids are at the same place in all versions of the header.
    let mut answer = u32::try_from(4 + body.len()).unwrap().to_be_bytes().to_vec();
    answer.extend(&request[4..8]);
    answer.extend(body);
    stream.write_all(&answer).unwrap();
}

#[test]
fn an_http_server_is_called_one() {
    let error = meet(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    })
    .unwrap_err();
    assert!(matches!(error, WireError::Protocol { .. }) && !error.is_retriable(), "{error}");
    assert!(error.to_string().contains("HTTP server") && error.to_string().contains("bootstrap.servers"), "{error}");
}

#[test]
fn a_flood_is_not_read() {
    // Announces 64 MiB, which a broker might send later, but not as its first word.
    const FLOOD: usize = 64 << 20;
    let error = meet(|mut stream| {
        stream.write_all(&u32::try_from(FLOOD).unwrap().to_be_bytes()).unwrap();
        let mut sent = 0;
        // Until the client hangs up; the kernels' buffers take the rest.
        while sent < FLOOD && stream.write_all(&[7; 1 << 16]).is_ok() {
            sent += 1 << 16;
        }
        assert!(sent < FLOOD / 2, "{sent} bytes were taken");
    })
    .unwrap_err();
    assert!(matches!(error, WireError::Protocol { .. }), "{error}");
}

#[test]
fn an_answer_that_nobody_asked_for_is_refused() {
    let error = meet(|mut stream| {
        let mut request = request(&mut stream);
        request[7] ^= 1;
        answer(&mut stream, &request, &[0; 10]);
    })
    .unwrap_err();
    assert!(matches!(error, WireError::Protocol { .. }), "{error}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let start = Instant::now();
    let error = meet(|mut stream| drop(stream.read_to_end(&mut Vec::new()))).unwrap_err();
    assert!(matches!(error, WireError::Connect { .. }) && error.is_retriable(), "{error}");
    assert!(start.elapsed() >= CONNECT_TIMEOUT && start.elapsed() < DEADLINE);
}

/// No broker that is old enough can be had; what it would say is in KIP-511.
#[test]
fn an_old_broker_is_asked_again_in_its_own_version() {
    meet(|mut stream| {
        let first = request(&mut stream);
        assert_eq!(&first[..4], [0, 18, 0, 4], "ApiVersions in the newest version");
        // Version 0: UNSUPPORTED_VERSION, and one range: ApiVersions from 0 to 2.
        answer(&mut stream, &first, &[0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2]);
        let second = request(&mut stream);
        assert_eq!(&second[..4], [0, 18, 0, 2]);
        // Version 2: no error, the same range, no throttling.
        answer(&mut stream, &second, &[0, 0, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0]);
    })
    .unwrap();
}
