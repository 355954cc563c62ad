/**
 * All output arrives, in order, however much there is.
 *
 * tslab sends a message for every write and waits for none; zeromq refuses a send while another waits, which happens after 512 in one turn of
 * the event loop, and drops messages beyond 1,000 that were not fetched. Jupyter's server drops what comes faster than 1,000 messages a second.
 * So sockets send at once and without limit, and neighbouring writes travel together.
 */
'use strict';
const path = require('node:path');

/** Messages a second, and so many at once before they are spread: the first lines of a cell that then computes without a pause are seen at once. */
const RATE = 50;
/** The most that waits, characters. */
const FILL = 65_536;

exports.mendSending = (dist) => {
  const { ZmqServer, JupyterHandlerImpl } = require(path.join(dist, 'jupyter.js'));

  /**
   * Bound in one turn of the event loop: tslab reads from its first socket while threads still bind the others, and zeromq throws on any use of a
   * socket that is being bound, so that a request which comes in between would never be answered.
   */
  ZmqServer.prototype.bindSocket = async function (socket, port) {
    socket.sendHighWaterMark = 0; // no limit
    // Publisher and router never have to wait for a reader, and with a limit of 0 on waiting zeromq sends in the call itself.
    if (socket !== this.hb) socket.sendTimeout = 0;
    socket.bindSync(`${this.connInfo.transport}://${this.connInfo.ip}:${port}`);
  };

  let latest;
  process.on('exit', () => latest?.send());
  const { handleExecute } = JupyterHandlerImpl.prototype;
  JupyterHandlerImpl.prototype.handleExecute = async function (request, writeStream, writeDisplayData) {
    const text = gathered(writeStream, () => {
      latest = text;
    });
    try {
      return await handleExecute.call(this, request, text.write, (...display) => {
        text.send();
        writeDisplayData(...display);
      });
    } finally {
      text.send();
    }
  };
};

/** Joins writes to one stream where they come faster than messages may, until the other stream is written to, or it is much. */
function gathered(writeStream, onWrite) {
  let waiting = '';
  let stream;
  let timer;
  let allowed = RATE;
  let at = performance.now();
  const send = () => {
    clearTimeout(timer);
    timer = undefined;
    if (waiting === '') return;
    const text = waiting;
    waiting = '';
    allowed -= 1;
    writeStream(stream, text);
  };
  const mayWrite = () => {
    const now = performance.now();
    allowed = Math.min(RATE, allowed + ((now - at) / 1000) * RATE);
    at = now;
    return allowed >= 1;
  };
  const write = (name, text) => {
    onWrite();
    if (name !== stream) send();
    stream = name;
    waiting += text;
    if (mayWrite() || waiting.length >= FILL) send();
    else timer ??= setTimeout(send, 1000 / RATE);
  };
  return { write, send };
}
