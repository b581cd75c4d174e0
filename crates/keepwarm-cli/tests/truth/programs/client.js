// MODE N C [URL]: "agents" makes an agent a request and forgets it, "abort" gives up after 250 ms, "each" opens
// a connection for each request, "ten" closes an agent with its connection after ten requests.
const url = process.argv[5] || 'http://10.107.0.2:8080/';
const http = require(url.startsWith('https') ? 'https' : 'http');
const [mode, n, c] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const agents = [];
const get = (own) => new Promise((done) => {
  let agent = http.globalAgent;
  if (mode === 'agents') { agent = new http.Agent({ keepAlive: true, timeout: 2000 }); agents.push(agent); }
  if (mode === 'each') agent = false;
  if (mode === 'ten') agent = own;
  const options = { agent, rejectUnauthorized: false };
  const request = http.get(url, options, (response) => { response.resume(); response.on('end', done); });
  if (mode === 'abort') setTimeout(() => request.destroy(), 250);
  request.on('error', done);
  request.on('close', done);
});
const each = async () => {
  let own;
  for (let i = 0; i < n / c; i++) {
    if (mode === 'ten' && i % 10 === 0) { own?.destroy(); own = new http.Agent({ keepAlive: true, maxSockets: 1 }); }
    await get(own);
    await new Promise((done) => setTimeout(done, 20));
  }
  own?.destroy();
};
Promise.all(Array.from({ length: c }, each)).then(() => {
  setTimeout(() => { console.log(`requests=${n}`); console.log('done'); process.stdin.resume(); }, mode === 'agents' ? 2500 : 0);
});
