// The demo: what the panes show and what their buttons do. All talk with the gateway is in client.js, all answers
// come from the domain service (`holdfast demo-service`).
'use strict';

const CHAT = 'demo/chat';
const COUNTER = 'demo/counter';
const LOG_LINES_MAX = 200;

const config = window.HOLDFAST;
const query = new URLSearchParams(location.search);

/** Which panes to show: `?user=ana&gateway=1` is one, otherwise each user on the next gateway in turn. */
function panes() {
  const gateways = query.get('secure') && config.secure ? [config.secure] : config.gateways;
  const users = query.get('user') ? [query.get('user')] : Object.keys(config.tokens);
  const first = Number(query.get('gateway') ?? 0);
  return users.map((user, n) => ({ user, gateway: gateways[(first + n) % gateways.length], token: config.tokens[user] }));
}

function show({ user, gateway, token }) {
  const pane = document.getElementById('pane').content.firstElementChild.cloneNode(true);
  const part = (name) => pane.querySelector(`[data-part="${name}"]`);
  pane.dataset.user = user;
  pane.dataset.gateway = gateway;
  part('user').textContent = user;
  part('gateway').textContent = gateway;
  document.getElementById('panes').append(pane);

  const state = (name, detail) => {
    pane.dataset.state = name;
    part('state').textContent = detail ? `${name} · ${detail}` : name;
  };
  if (!token) return state('closed', `no token for ${user} in config.js`);

  const log = (list, from, text) => {
    const line = document.createElement('li');
    const who = document.createElement('b');
    who.textContent = from;
    line.append(who, text);
    list.append(line);
    while (list.childElementCount > LOG_LINES_MAX) list.firstElementChild.remove();
    list.scrollTop = list.scrollHeight;
  };
  const online = (users) => part('online').replaceChildren(...users.map((name) => {
    const entry = document.createElement('li');
    entry.textContent = name;
    return entry;
  }));
  const count = ({ value }) => { part('counter').textContent = value; };
  const trouble = (error) => { part('receipt').textContent = error.message; };

  const client = new HoldfastClient(`${gateway}/ws/demo`, token, {
    state: (name, detail) => state(name === 'online' ? 'joining' : name, detail),
    welcome: async (welcome) => {
      try {
        // Join first, ask second: what changes in between arrives as a message.
        await Promise.all([client.join(CHAT), client.join(COUNTER)]);
        online((await client.request('online')).users);
        count(await client.request('count'));
        state('online', `node ${welcome.node}`);
      } catch (error) {
        state('failed', error.message);
      }
    },
    message: ({ room, event, data }) => {
      if (room === CHAT && event === 'chat') log(part('chat'), data.from, data.text);
      else if (room === CHAT && event === 'online') online(data.users);
      else if (room === COUNTER) count(data);
      else if (!room) log(part('notifications'), data?.from ?? '', data?.text ?? JSON.stringify(data));
    },
    // Something was dropped for us: ask again for what can be asked for.
    gap: async () => {
      try {
        online((await client.request('online')).users);
        count(await client.request('count'));
      } catch (error) { trouble(error); }
    },
  });

  part('count').onclick = () => client.send('count').catch(trouble);
  part('say').onsubmit = (event) => {
    event.preventDefault();
    const text = event.target.elements.text;
    client.send('chat', { text: text.value }).catch(trouble);
    text.value = '';
  };
  part('notify').onsubmit = async (event) => {
    event.preventDefault();
    const { to, text } = event.target.elements;
    try {
      const receipt = await client.request('notify', { to: to.value, text: text.value });
      part('receipt').textContent = receipt.offline
        ? `${to.value} is offline`
        : `reached ${receipt.matched} connection${receipt.matched === 1 ? '' : 's'} of ${to.value}`;
      text.value = '';
    } catch (error) { trouble(error); }
  };
}

if (config) panes().forEach(show);
else document.getElementById('panes').textContent = 'config.js is missing: start this page with `cargo xtask up`.';
