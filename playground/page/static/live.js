// What the server sends all the time: the rows of messages that changed, and the state of everything else.

const listeners = new Set();
let latest = null;

/** Call a function with each frame {rows, state, fresh}; `fresh` is true for the first frame of a connection. */
export function onFrame(listener) {
  listeners.add(listener);
  if (latest) listener({ rows: [], state: latest, fresh: false });
}

/** The newest state, null before the first frame. */
export function state() {
  return latest;
}

/** Connect, and connect again whenever the connection ends. `onConnection` gets true or false. */
export function connect(onConnection) {
  const source = new EventSource("live");
  let fresh = true;
  source.onopen = () => {
    fresh = true;
    onConnection(true);
  };
  source.onerror = () => onConnection(false);
  source.onmessage = (event) => {
    const frame = JSON.parse(event.data);
    latest = frame.state;
    for (const listener of listeners) listener({ ...frame, fresh });
    fresh = false;
  };
}
