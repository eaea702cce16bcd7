// The bundler gathers styles in a file of their own.
declare module '*.css';
