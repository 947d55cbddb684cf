// Everything that the service can do, once, and a thousand calls at once and in turn.
//
//     ./client [ADDRESS]        127.0.0.1:6000 by default, the near end of the tunnel

#include <capnp/ez-rpc.h>

#include <iostream>
#include <string>

#include "desk.capnp.h"

class Squares final : public Listener::Server {
  kj::Promise<void> next(NextContext context) override {
    int64_t number = context.getParams().getNumber();
    context.getResults().setAnswer(number * number);
    return kj::READY_NOW;
  }
};

// A call on the result of a call, both sent before anything is answered.
int64_t addTo(Desk::Client desk, int64_t start, int64_t by, kj::WaitScope& wait) {
  auto counter = desk.counterRequest();
  counter.setStart(start);
  auto add = counter.send().getCounter().addRequest();
  add.setBy(by);
  return add.send().wait(wait).getValue();
}

int64_t squares(Desk::Client desk, uint32_t count, kj::WaitScope& wait) {
  auto request = desk.countForRequest();
  request.setCount(count);
  request.setListener(kj::heap<Squares>());
  return request.send().wait(wait).getSum();
}

kj::Promise<bool> echoes(Desk::Client desk, std::string text) {
  auto request = desk.echoRequest();
  request.setText(text);
  return request.send().then([text](auto&& response) { return response.getText() == text.c_str(); });
}

bool allAtOnce(Desk::Client desk, int calls, kj::WaitScope& wait) {
  auto answers = kj::heapArrayBuilder<kj::Promise<bool>>(calls);
  for (int i = 0; i < calls; i++) answers.add(echoes(desk, std::to_string(i)));
  bool good = true;
  for (bool answer : kj::joinPromises(answers.finish()).wait(wait)) good &= answer;
  return good;
}

bool inTurn(Desk::Client desk, int calls, kj::WaitScope& wait) {
  bool good = true;
  for (int i = 0; i < calls; i++) good &= echoes(desk, std::to_string(i)).wait(wait);
  return good;
}

bool everything(const char* address) {
  capnp::EzRpcClient client(address);
  auto& wait = client.getWaitScope();
  auto desk = client.getMain<Desk>();
  bool good = true;
  auto tell = [&good](const char* what, bool right) {
    std::cout << (right ? "ok     " : "WRONG  ") << what << std::endl;
    good &= right;
  };
  tell("a call", echoes(desk, "hello").wait(wait));
  tell("a pipelined call", addTo(desk, 40, 2, wait) == 42);
  tell("a call back", squares(desk, 10, wait) == 285);
  tell("1 MB of text each way", echoes(desk, std::string(1000000, 'x')).wait(wait));
  tell("1000 calls at once", allAtOnce(desk, 1000, wait));
  tell("1000 calls in turn", inTurn(desk, 1000, wait));
  return good;
}

int main(int argc, char* argv[]) try {
  return everything(argc > 1 ? argv[1] : "127.0.0.1:6000") ? 0 : 1;
} catch (const kj::Exception& why) {
  std::cerr << why.getDescription().cStr() << std::endl;
  return 1;
}
