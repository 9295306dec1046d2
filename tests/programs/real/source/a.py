import os,sys
def  f( a,b ):
  x = { 'a':1 ,'b' : [1,2,
    3]}
  return a+b*1
class A( object ):
  def g(self): pass
