//! A web page of another site, in the browser of somebody on this host: it reads nothing and no vehicle hears of it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Daemon, Device, PATIENCE, REPORT, Receiver, THANKS};

/// What the pages have in common: `tell` sends a result to the site, and each attack has its time.
const TOOLS: &str = "
    const tell = (what, result) => fetch('/told', { method: 'POST', body: JSON.stringify({ what, result }) });
    const attack = async (what, work) => {
        let result;
        try { result = await work(); } catch (error) { result = `${error}`; }
        await tell(what, result);
    };
    const read = async response => `${response.type} ${response.status} ${await response.text()}`;
    const post = (url, options) => fetch(url, { method: 'POST', ...options }).then(read);
    const loaded = element => new Promise(resolve => {
        element.onload = () => resolve('loaded');
        element.onerror = () => resolve('failed');
        setTimeout(() => resolve('late'), 3000);
    });
";

/// A site, at a name that resolves to loopback. It serves one page, and passes what its page asks for under any other
/// path to the gateway, as if its name resolved to the gateway's address by now.
struct Site {
    address: SocketAddr,
    told: mpsc::Receiver<Value>,
}

impl Site {
    fn start(page: String, gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (page, tell) = (page.clone(), tell.clone());
                thread::spawn(move || {
                    let request = read_request(&mut stream);
                    let response = if request.starts_with("GET / ") {
                        ok("text/html", &page)
                    } else if request.starts_with("POST /told ") {
                        let (_, body) = request.split_once("\r\n\r\n").unwrap();
                        // The test may have ended.
                        let _ended = tell.send(serde_json::from_str(body).unwrap());
                        ok("text/plain", "")
                    } else {
                        pass_on(&request, gateway)
                    };
                    // The browser may have closed it.
                    let _closed = stream.write_all(response.as_bytes());
                });
            }
        });
        Self { address, told }
    }

    /// Opens the page by this name in a browser, and returns what it tells until it says `end`.
    fn visit_as(&self, name: &str) -> Vec<(String, String)> {
        let profile = TempDir::new().unwrap();
        let mut browser = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--disable-dev-shm-usage"])
            .arg(format!("--host-resolver-rules=MAP {name} 127.0.0.1"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{name}:{}/", self.address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium; run the tests by ./scripts/test");
        let mut results = Vec::new();
        loop {
            let told = self.told.recv_timeout(3 * PATIENCE);
            let told = told.inspect_err(|_| browser.kill().unwrap()).unwrap();
            if told["what"] == "end" {
                break;
            }
            let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
            results.push((text("what"), text("result")));
        }
        browser.kill().unwrap();
        browser.wait().unwrap();
        results
    }
}

fn ok(kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a request with its body.
fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
            _ => return String::new(),
        }
    }
}

fn pass_on(request: &str, gateway: SocketAddr) -> String {
    if request.is_empty() {
        return String::new();
    }
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    // A gateway that keeps the connection open has answered all the same.
    let _timed_out = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

/// Asserts that the vehicle has heard nothing: the next thing that it hears is the answer to its report.
#[track_caller]
fn expect_undisturbed(device: &mut Device) {
    device.say(REPORT);
    device.expect(THANKS);
}

#[test]
fn a_page_of_another_site_reads_nothing_and_reaches_no_vehicle() {
    let receiver = Receiver::start(|_| 200);
    let daemon = Daemon::builder()
        .set("webhooks.allow_http=true")
        .set("webhooks.allow_private=true")
        .start();
    let mut device = daemon.log_in("truck");
    let webhook = json!({ "url": receiver.url(), "events": ["command"] });
    let webhook = daemon.post("/webhooks", &webhook);
    let webhook = webhook.headers()["location"].to_str().unwrap().to_owned();
    let (api, port) = (daemon.url(""), daemon.device.port());
    let page = format!(
        "<body><script>{TOOLS}
        const api = '{api}';
        const frame = document.createElement('iframe');
        frame.name = 'frame';
        document.body.append(frame);
        const submit = path => {{
            const form = document.createElement('form');
            Object.assign(form, {{ method: 'POST', action: api + path, target: 'frame', enctype: 'text/plain' }});
            document.body.append(form);
            form.submit();
            return loaded(frame);
        }};
        (async () => {{
            for (const path of ['/service/truck/turnOn', '/service/truck/turnOff', '/service/truck/disconnect', '/service/broadcast', '{webhook}/test'])
                for (const options of [{{ mode: 'no-cors' }}, {{ mode: 'no-cors', body: '{{}}' }}, {{ mode: 'cors' }}, {{ mode: 'cors', credentials: 'include' }}])
                    await attack('write', () => post(api + path, options));
            await attack('write', () => fetch(api + '/vehicles/truck', {{ method: 'DELETE' }}).then(read));
            await attack('write', () => submit('/service/truck/turnOn'));
            for (const path of ['/vehicles', '/service/truck/fetch-info', '/openapi.json', '/metrics'])
                for (const mode of ['no-cors', 'cors'])
                    await attack('read', () => fetch(api + path, {{ mode }}).then(read));
            await attack('image', () => {{ const image = new Image(); image.src = api + '/service/truck/fetch-info'; return loaded(image); }});
            await attack('script', () => {{ const script = document.createElement('script'); script.src = api + '/vehicles'; document.body.append(script); return loaded(script); }});
            await attack('frame', () => {{ frame.src = api + '/service/truck/fetch-info'; return loaded(frame); }});
            await attack('socket', () => loaded(Object.assign(new WebSocket(api.replace('http', 'ws') + '/service/truck/fetch-info'), {{}})));
            await attack('device', () => post('http://127.0.0.1:{port}/', {{ mode: 'no-cors', body: 'HELLO, I\\'M thief!\\nHELLO, I\\'M truck!\\n' }}));
            await tell('end');
        }})();
        </script>"
    );
    let site = Site::start(page, daemon.http);
    let results = site.visit_as("evil.test");
    assert_eq!(results.len(), 35, "{results:?}");
    for (what, result) in &results {
        // What `no-cors` returns is opaque: no status, no body.
        let is_empty = result == "opaque 0 " || result.contains("TypeError");
        let is_element = ["image", "script", "frame", "socket"].contains(&what.as_str());
        assert!(
            is_empty
                || (is_element || what == "write")
                    && ["failed", "late", "loaded"].contains(&result.as_str()),
            "{what}: {result}"
        );
    }
    expect_undisturbed(&mut device);
    assert_eq!(daemon.query("SELECT count(*) FROM commands"), ["0"]);
    assert_eq!(receiver.count(), 0);
    assert_eq!(daemon.query("SELECT device_id FROM vehicles"), ["truck"]);
}

#[test]
fn a_page_whose_name_resolves_to_the_gateway_reads_nothing_and_reaches_no_vehicle() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    // To the browser these requests are of the page's own origin.
    let page = format!(
        "<body><script>{TOOLS}
        (async () => {{
            for (const path of ['/vehicles', '/service/truck/fetch-info', '/openapi.json', '/docs', '/metrics', '/unknown'])
                await attack(path, () => fetch(path).then(read));
            for (const path of ['/service/truck/turnOn', '/service/broadcast'])
                await attack(path, () => post(path, {{ headers: {{ 'Content-Type': 'application/json' }}, body: '{{}}' }}));
            await tell('end');
        }})();
        </script>"
    );
    let site = Site::start(page, daemon.http);
    let results = site.visit_as("evil.test");
    assert_eq!(results.len(), 8, "{results:?}");
    for (path, result) in &results {
        assert!(result.starts_with("basic 421 "), "{path}: {result}");
        assert!(result.contains("misdirected-request"), "{path}: {result}");
        assert!(!result.contains("truck"), "{path}: {result}");
    }
    expect_undisturbed(&mut device);
    // By a name of loopback the same page is of the own origin.
    let page = format!(
        "<body><script>{TOOLS}
        (async () => {{
            await attack('read', () => fetch('/vehicles').then(read));
            await attack('write', () => post('/vehicles', {{ headers: {{ 'Content-Type': 'application/json' }}, body: '{{\"deviceId\":\"new\"}}' }}));
            await tell('end');
        }})();
        </script>"
    );
    let site = Site::start(page, daemon.http);
    let results = site.visit_as("gateway.localhost");
    assert!(results[0].1.starts_with("basic 200 "), "{results:?}");
    assert!(results[1].1.starts_with("basic 201 "), "{results:?}");
}
