// A Cap'n Proto service on a TCP port. It knows nothing of WebSockets.
//
//     ./server [ADDRESS]        127.0.0.1:5000 by default; port 0 takes a free one

#include <capnp/ez-rpc.h>

#include <iostream>

#include "desk.capnp.h"

// Lives as long as a client refers to it; a connection's end is the end of its references.
class CounterImpl final : public Counter::Server {
 public:
  explicit CounterImpl(int64_t start) : value(start) {}
  ~CounterImpl() { std::cout << "a counter at " << value << " is released" << std::endl; }

  kj::Promise<void> add(AddContext context) override {
    value += context.getParams().getBy();
    context.getResults().setValue(value);
    return kj::READY_NOW;
  }

 private:
  int64_t value;
};

class DeskImpl final : public Desk::Server {
 public:
  kj::Promise<void> echo(EchoContext context) override {
    context.getResults().setText(context.getParams().getText());
    return kj::READY_NOW;
  }

  kj::Promise<void> counter(CounterContext context) override {
    context.getResults().setCounter(kj::heap<CounterImpl>(context.getParams().getStart()));
    return kj::READY_NOW;
  }

  kj::Promise<void> countFor(CountForContext context) override {
    auto params = context.getParams();
    return ask(params.getListener(), params.getCount(), 0, 0).then([context](int64_t sum) mutable {
      context.getResults().setSum(sum);
    });
  }

 private:
  // One number after the other, the sum of what the client makes of them.
  static kj::Promise<int64_t> ask(Listener::Client listener, uint32_t count, uint32_t number, int64_t sum) {
    if (number == count) return sum;
    auto request = listener.nextRequest();
    request.setNumber(number);
    return request.send().then([=](auto&& response) mutable {
      return ask(listener, count, number + 1, sum + response.getAnswer());
    });
  }
};

int main(int argc, char* argv[]) {
  capnp::EzRpcServer server(kj::heap<DeskImpl>(), argc > 1 ? argv[1] : "127.0.0.1:5000");
  auto& wait = server.getWaitScope();
  std::cout << "listening 127.0.0.1:" << server.getPort().wait(wait) << std::endl;
  kj::NEVER_DONE.wait(wait);
}
