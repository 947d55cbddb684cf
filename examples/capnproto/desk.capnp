# What the service offers: a call, an object by reference, and calls back to the client.

@0x88271bcba701dae1;

interface Desk {
  echo @0 (text :Text) -> (text :Text);
  counter @1 (start :Int64) -> (counter :Counter);
  countFor @2 (count :UInt32, listener :Listener) -> (sum :Int64);
}

interface Counter {
  add @0 (by :Int64) -> (value :Int64);
}

interface Listener {
  next @0 (number :UInt32) -> (answer :Int64);
}
