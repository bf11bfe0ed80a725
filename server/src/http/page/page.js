import { connect } from "/dormouse.js";

const state = document.getElementById("state");
const socket = connect();
socket.addEventListener("message", (event) => {
  const { welcome } = JSON.parse(event.data);
  if (welcome) state.value = `session ${welcome.session}, server ${welcome.server}`;
});
socket.addEventListener("close", (event) => {
  state.value = `closed (${event.code})`;
});
