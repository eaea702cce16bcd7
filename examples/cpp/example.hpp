// What the examples share: an error ends the program with its text, Ctrl-C ends it in good order.
#ifndef EXAMPLE_HPP
#define EXAMPLE_HPP

#include <csignal>
#include <iostream>
#include <streamengine.hpp>

inline volatile std::sig_atomic_t interrupted = 0;

// Runs a program; from now on Ctrl-C sets `interrupted`. Output comes line by line, also into a pipe.
template <class Program>
int run(Program program) {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    std::cout << std::unitbuf;
    try {
        return program();
    } catch (const streamengine::Error &error) {
        std::cerr << error.name() << ": " << error.what() << '\n';
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
    }
    return 1;
}

#endif
