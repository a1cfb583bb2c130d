// A program that is no worker of a cluster decides itself what the stop signal means to it, and when it is done. When it
// closes an HTTP server, the answers under way are the last ones on their connections: otherwise Node keeps those open, and
// the server with them, for the whole keepAliveTimeout.

if (!quietly(() => require('cluster').worker)) {
  net.Server.prototype.close = function (...args) {
    quietly(() => this.listening && answerForTheLastTime(this));
    return Reflect.apply(close, this, args);
  };
  Object.defineProperty(net.Server.prototype.close, 'name', { value: 'close' });
}
