// Rooms on Bun's topics (uWebSockets underneath): whoever connects to /room/N is subscribed to it, and whatever it
// sends is published to all of the room, itself included. On /echo a message goes straight back to who sent it.

const socketBytes = 64 * 1024 * 1024;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    const room = path === "/echo" ? undefined : path;
    return server.upgrade(request, { data: { room } }) ? undefined : new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    maxPayloadLength: 64 * 1024,
    backpressureLimit: socketBytes,
    closeOnBackpressureLimit: false,
    open(socket) {
      if (socket.data.room !== undefined) socket.subscribe(socket.data.room);
    },
    message(socket, message) {
      if (socket.data.room === undefined) socket.send(message, false);
      else server.publish(socket.data.room, message, false);
    },
  },
});
