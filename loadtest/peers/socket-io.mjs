// Rooms on socket.io: who connects with ?room=N is in that room, and whatever it emits as "m" is emitted to all of the
// room, itself included.

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  maxHttpBufferSize: 64 * 1024,
});

io.on("connection", (socket) => {
  const { room } = socket.handshake.query;
  socket.join(room);
  socket.on("m", (message) => io.to(room).emit("m", message));
});

http.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
