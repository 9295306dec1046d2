"""What mproc.managers is made of; programs import that module.

* wire: tokens, requests and replies, and how a reply becomes an error
* peers: a client process' connections to a server, and the references it holds there
* proxies: what stands for an object of a server
* server: the process that has the objects
* calls: how it calls their methods, and what becomes of errors
* referents: the objects that a server makes of the types that all managers know
* values: Namespace, Value, Array
* late, life, direct: managers without a server; who keeps their objects; what these do
* shared: managers of named shared memory
"""
